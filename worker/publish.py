"""Publication: the picture, then the metadata that commits it; and finding out what has been published already.

A store that does not answer is waited for, here, with growing and jittered pauses; nothing is generated twice for it.
Knows neither the device nor the queue.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import structlog

from producer.contract import (
    IMAGE_CONTENT_TYPE,
    METADATA_CONTENT_TYPE,
    SeedResult,
    SeedStatus,
    image_key,
    metadata_key,
)
from worker.encode import encode_metadata, encode_png
from worker.errors import GivenBack, ObjectMissing, StorageError, StorageSilent, StorageUnreachable
from worker.model.generated import Generated, ModelInfo
from worker.order import Work, milliseconds

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 3.0

Value = TypeVar("Value")


class Store(Protocol):
    """What publication needs of an object store; :class:`worker.storage.ObjectStore` is one."""

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write ``data`` under ``key``."""
        ...

    def get(self, key: str) -> bytes:
        """Return the bytes under ``key``, or raise :class:`~worker.errors.ObjectMissing`."""
        ...

    def uri(self, key: str) -> str:
        """Return the address of ``key``."""
        ...


class Publisher:
    """Writes results of one model to a store.

    Args:
        store: where they go.
        model: whose results they are.
        patience_s: seconds that a seed waits for a store that does not answer, before it goes back to the queue.
            If the store has answered others in that time, that was one of its attempts; if it has answered nobody,
            :class:`~worker.errors.StorageSilent` says so.
    """

    def __init__(self, store: Store, model: ModelInfo, *, patience_s: float) -> None:
        self._store = store
        self._model = model
        self._patience_s = patience_s
        self._stopping = threading.Event()
        self._answered = time.monotonic()

    def stop_waiting(self) -> None:
        """Wait no more for a store that does not answer: the worker is stopping."""
        self._stopping.set()

    def publish(self, item: Work, generated: Generated) -> SeedResult | None:
        """Write the picture, then the metadata, which commits it; ``None`` if nobody wants it any more.

        Raises:
            GivenBack: the store did not answer in time.
            StorageError: it refused.
            EncodeError: the pixels are no picture.
        """
        model, seed = self._model, item.seed
        picture, metadata = image_key(model.id, seed), metadata_key(model.id, seed)
        if not item.wanted:
            return None
        encoded = item.timed("encode", lambda: encode_png(generated, model))
        document = encode_metadata(generated, model, encoded, picture)
        item.timed("put_image", lambda: self._put(item, picture, encoded.png, IMAGE_CONTENT_TYPE))
        item.timed("put_metadata", lambda: self._put(item, metadata, document, METADATA_CONTENT_TYPE))
        timings = {**item.timings, "total_ms": milliseconds(item.entered)}
        return self._result(seed, json.loads(document), timings)

    def find(self, item: Work) -> SeedResult | None:
        """Return the result of a seed that is published, whole; ``None`` if it is not, or torn.

        The metadata is read first, since it commits; then the picture is held to the SHA-256 that it names.

        Raises:
            GivenBack, StorageError: as :meth:`publish`.
        """
        model, seed = self._model, item.seed
        try:
            document = self._persist(item, lambda: self._store.get(metadata_key(model.id, seed)))
            facts = json.loads(document)
            png = self._persist(item, lambda: self._store.get(image_key(model.id, seed)))
            if hashlib.sha256(png).hexdigest() == facts["image"]["sha256"]:
                return self._result(seed, facts, {"total_ms": milliseconds(item.entered)})
        except ObjectMissing:
            return None
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            log.warning("torn metadata, done again", action="object_torn", seed=seed, error=str(error))
            return None
        log.warning("torn picture, done again", action="object_torn", seed=seed)
        return None

    def _result(self, seed: int, facts: dict[str, dict[str, object]], timings: dict[str, float]) -> SeedResult:
        """Return the result of a published seed, as its metadata has it."""
        model, image = self._model, facts["image"]
        return SeedResult(
            seed=seed,
            status=SeedStatus.SUCCEEDED,
            caption=str(facts["caption"]),
            image_uri=self._store.uri(image_key(model.id, seed)),
            metadata_uri=self._store.uri(metadata_key(model.id, seed)),
            sha256=str(image["sha256"]),
            width=int(str(image["width"])),
            height=int(str(image["height"])),
            bytes=int(str(image["bytes"])),
            model_id=model.id,
            timings=timings,
        )

    def _put(self, item: Work, key: str, data: bytes, content_type: str) -> None:
        self._persist(item, lambda: self._store.put(key, data, content_type))

    def _persist(self, item: Work, call: Callable[[], Value]) -> Value:
        """Return what ``call`` returns, waiting for a store that does not answer while the seed is wanted."""
        began = time.monotonic()
        pause = RETRY_FIRST_S
        while True:
            try:
                value = call()
            except StorageUnreachable as error:
                if not item.wanted:
                    raise GivenBack(str(error)) from error
                if time.monotonic() > began + self._patience_s:
                    silent = self._answered < began
                    raise (StorageSilent(str(error)) if silent else GivenBack(str(error), counts=True)) from error
                log.warning("storage away, waiting", action="storage_waiting", seed=item.seed, error=str(error))
                if self._stopping.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311  # jitter is no secret
                    raise GivenBack(f"stopping while {error}") from error
                pause = min(2 * pause, RETRY_MAX_S)
            except StorageError:
                self._answered = time.monotonic()
                raise
            else:
                self._answered = time.monotonic()
                return value
