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
from typing import Any, Protocol, TypeVar

import structlog

from producer.contract import IMAGE_CONTENT_TYPE, METADATA_CONTENT_TYPE, SeedStatus, image_key, metadata_key
from producer.message import SeedResult
from worker.encode import Encoded, encode_png, metadata_of
from worker.errors import GivenBack, ObjectMissing, StorageError, StorageSilent, StorageUnreachable
from worker.files import json_document
from worker.model.generated import ModelInfo
from worker.monitoring import metrics
from worker.work import Work, milliseconds

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 3.0

Value = TypeVar("Value")


class Store(Protocol):
    """What publication needs of an object store; :class:`worker.storage.ObjectStore` is one."""

    def put(self, key: str, data: bytes, content_type: str, *, sha256: str = "") -> None:
        """Write ``data`` under ``key``; who knows its SHA-256 saves the time that it takes."""
        ...

    def get(self, key: str) -> bytes:
        """Return the bytes under ``key``, or raise :class:`~worker.errors.ObjectMissing`."""
        ...

    def size(self, key: str) -> int | None:
        """Return how many bytes are under ``key``; ``None`` if there is no such object."""
        ...

    def uri(self, key: str) -> str:
        """Return the address of ``key``."""
        ...


class Publisher:
    """Writes results of one model to a store.

    Args:
        store: where they go.
        model: whose results they are.
        patience_s: seconds that a seed waits for a store that does not answer, before it goes back to the queue. The
            store is then asked the same of an object that nobody needs: if it does that, the seed has lost one of its
            attempts; if not, :class:`~worker.errors.StorageSilent` says so.
    """

    def __init__(self, store: Store, model: ModelInfo, *, patience_s: float) -> None:
        self._store = store
        self._model = model
        self._patience_s = patience_s
        self._probe = f"{model.id}/probe"
        self._stopping = threading.Event()

    def stop_waiting(self) -> None:
        """Wait no more for a store that does not answer: the worker is stopping."""
        self._stopping.set()

    def publish(self, item: Work) -> SeedResult | None:
        """Write its picture, then the metadata, which commits it; ``None`` if nobody wants it any more.

        The pixels are let go of once they are encoded: they may be a view of those of a whole batch.

        Raises:
            GivenBack: the store did not answer in time.
            StorageError: it refused.
            EncodeError: the pixels are no picture.
        """
        model, seed = self._model, item.seed
        picture, metadata = image_key(model.id, seed), metadata_key(model.id, seed)
        if item.leave():
            return None
        encoded, facts = item.timed("encode", lambda: self._encode(item))
        item.timed("put_image", lambda: self._put(item, picture, encoded.png, IMAGE_CONTENT_TYPE, encoded.sha256))
        item.timed("put_metadata", lambda: self._put(item, metadata, json_document(facts), METADATA_CONTENT_TYPE))
        return self._result(item, facts)

    def _encode(self, item: Work) -> tuple[Encoded, dict[str, Any]]:
        generated, item.generated = item.generated, None
        encoded = encode_png(generated, self._model)
        return encoded, metadata_of(generated, self._model, encoded, image_key(self._model.id, item.seed))

    def find(self, item: Work, *, whole: bool) -> SeedResult | None:
        """Return the result of a seed that is published; ``None`` if it is not, or torn.

        The metadata is read first, since it commits. Then the picture is held to the size that it names; or, if it has
        to be ``whole``, read and held to the SHA-256.

        Raises:
            GivenBack, StorageError: as :meth:`publish`.
        """
        model, seed = self._model, item.seed
        try:
            document = self._persist(item, lambda: self._store.get(metadata_key(model.id, seed)), self._can_read)
            facts = json.loads(document)
            if self._is_there(item, facts["image"], whole=whole):
                return self._result(item, facts, cached=True)
        except ObjectMissing:
            return None
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            log.warning("torn metadata, done again", action="object_torn", seed=seed, error=str(error))
            return None
        log.warning("torn picture, done again", action="object_torn", seed=seed)
        return None

    def _is_there(self, item: Work, image: dict[str, object], *, whole: bool) -> bool:
        key = image_key(self._model.id, item.seed)
        if not whole:
            return self._persist(item, lambda: self._store.size(key), self._can_read) == image["bytes"]
        png = self._persist(item, lambda: self._store.get(key), self._can_read)
        return hashlib.sha256(png).hexdigest() == image["sha256"]

    def _result(self, item: Work, facts: dict[str, Any], *, cached: bool = False) -> SeedResult:
        """Return the result of a published seed, as its metadata has it."""
        model, image, seed = self._model, facts["image"], item.seed
        timings = {**item.timings, "total_ms": milliseconds(item.entered)}
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
            cached=cached,
            timings=timings,
        )

    def _put(self, item: Work, key: str, data: bytes, content_type: str, sha256: str = "") -> None:
        self._persist(item, lambda: self._store.put(key, data, content_type, sha256=sha256), self._can_write)

    def _persist(self, item: Work, call: Callable[[], Value], is_able: Callable[[], bool]) -> Value:
        """Return what ``call`` returns, waiting for a store that does not answer while the seed is wanted.

        ``is_able`` asks the store the same of another object.
        """
        deadline = time.monotonic() + self._patience_s
        pause = RETRY_FIRST_S
        able = False
        while True:
            try:
                return call()
            except StorageUnreachable as error:
                if able:
                    raise GivenBack(str(error), counts=True) from error
                if not item.wanted:
                    raise GivenBack(str(error)) from error
                if time.monotonic() > deadline:
                    able = is_able()  # then it is asked once more: it may be back since a moment
                    if not able:
                        raise StorageSilent(str(error)) from error
                    continue
                metrics.RETRIES.labels("storage").inc()
                log.warning(
                    "the store does not answer for it, waiting",
                    action="storage_waiting",
                    seed=item.seed,
                    error=str(error),
                )
                if self._stopping.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311  # jitter is no secret
                    raise GivenBack(f"stopping while {error}") from error
                pause = min(2 * pause, RETRY_MAX_S)

    def _can_read(self) -> bool:
        """Return whether the store answers for an object that nobody needs."""
        try:
            self._store.get(self._probe)
        except StorageError as error:
            return not isinstance(error, StorageUnreachable)
        return True

    def _can_write(self) -> bool:
        """Return whether the store keeps another object, which is written over the next time."""
        try:
            self._store.put(self._probe, b"", METADATA_CONTENT_TYPE)
        except StorageError as error:
            return not isinstance(error, StorageUnreachable)
        return True
