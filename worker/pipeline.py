"""The stages of a seed: generate in batches, encode, upload the picture, then its metadata; one outcome per seed.

This module alone knows the stages and their order. Batches run on the device thread while finished pictures are
encoded and uploaded on other threads; a bounded hand-over between the two keeps memory flat when the store is slow.
Stages turn errors into outcomes: one bad seed fails alone. Nothing here knows Celery or jobs.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
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
from worker.batcher import Batcher
from worker.encode import encode_metadata, encode_png
from worker.errors import GivenBack, StorageUnreachable
from worker.model.engine import Generated, ModelInfo
from worker.model.isolate import generate_each
from worker.threads import started_pool

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 3.0

HANDOVER_BATCHES = 4
"""Batches of generated pictures that may wait for encoding and upload before the device waits for them."""

Value = TypeVar("Value")


class Model(Protocol):
    """What the pipeline needs of a model; :class:`worker.model.engine.Engine` is one."""

    info: ModelInfo

    def generate(self, seeds: Sequence[int]) -> list[Generated]:
        """Return one result per seed, in order."""
        ...


class Store(Protocol):
    """What the pipeline needs of an object store; :class:`worker.storage.ObjectStore` is one."""

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write ``data`` under ``key``."""
        ...

    def uri(self, key: str) -> str:
        """Return the address of ``key``."""
        ...


@dataclass(slots=True)
class Work:
    """A seed on its way; ``timings`` gathers milliseconds by stage, ``done`` gets the outcome."""

    seed: int
    entered: float = field(default_factory=time.perf_counter)
    timings: dict[str, float] = field(default_factory=dict)
    done: Future[SeedResult] = field(default_factory=Future)

    def fail(self, error: Exception) -> None:
        """End with ``error``."""
        log.error("seed failed", action="seed_failed", seed=self.seed, error=str(error), kind=type(error).__name__)
        self.done.set_result(SeedResult.failure(self.seed, error, timings=self.timings))

    def timed(self, stage: str, call: Callable[[], Value]) -> Value:
        """Return what ``call`` returns, noting how long it took."""
        started = time.perf_counter()
        try:
            return call()
        finally:
            self.timings[f"{stage}_ms"] = milliseconds(started)


def milliseconds(since: float) -> float:
    """Return the milliseconds since ``time.perf_counter()`` gave ``since``."""
    return round((time.perf_counter() - since) * 1000, 3)


class Pipeline:
    """Seeds in, published pictures out.

    Args:
        model: generates pictures and captions; called from one thread at a time.
        store: where they go.
        max_batch: most seeds that the model gets at once.
        upload_threads: pictures encoded and uploaded side by side.
        patience_s: seconds that a picture waits for a store that does not answer, before its seed fails.
    """

    def __init__(
        self, model: Model, store: Store, *, max_batch: int, upload_threads: int, patience_s: float = 0.0
    ) -> None:
        self._model = model
        self._store = store
        self._patience_s = patience_s
        self._stopping = threading.Event()
        self._batcher: Batcher[Work] = Batcher(self._run_batch, max_batch=max_batch)
        self._finishers = started_pool(upload_threads, "upload", setting="SEEDMILL_UPLOAD_THREADS")
        self._handover = threading.BoundedSemaphore(HANDOVER_BATCHES * max_batch)

    def start(self) -> None:
        """Begin to work."""
        self._batcher.start()

    def stop_waiting(self) -> None:
        """Give back what waits for a store that does not answer: the worker is stopping."""
        self._stopping.set()

    def close(self) -> None:
        """Take no more seeds, finish those inside, and return when the last upload has ended."""
        self._batcher.close()
        self._finishers.shutdown(wait=True)

    def process(self, seeds: Sequence[int]) -> list[SeedResult]:
        """Generate and publish the seeds; blocks until each has its outcome, and returns them in order.

        Raises:
            GivenBack: the worker is stopping while the store does not answer; nothing is known of the seeds.
        """
        work = [Work(seed) for seed in seeds]
        self._batcher.submit(work)
        return [item.done.result() for item in work]

    def _run_batch(self, batch: list[Work]) -> None:
        started = time.perf_counter()
        for item in batch:
            item.timings["queue_ms"] = milliseconds(item.entered)
        generated = generate_each(self._model.generate, [item.seed for item in batch])
        spent = milliseconds(started)
        log.debug("batch generated", action="batch_generated", seeds=len(batch), ms=spent)
        for item, result in zip(batch, generated, strict=True):
            item.timings["generate_ms"] = spent
            if isinstance(result, Exception):
                item.fail(result)
            else:
                self._hand_over(item, result)

    def _hand_over(self, item: Work, generated: Generated) -> None:
        """Give a picture to the uploading threads; waits while too many are there already."""
        self._handover.acquire()
        self._finishers.submit(self._finish, item, generated)

    def _finish(self, item: Work, generated: Generated) -> None:
        try:
            result = self._publish(item, generated)
        except GivenBack as error:
            item.done.set_exception(error)
        except Exception as error:  # the seed fails alone; the thread lives on
            item.fail(error)
        else:
            item.done.set_result(result)
        finally:
            self._handover.release()

    def _publish(self, item: Work, generated: Generated) -> SeedResult:
        """Write the picture, then the metadata, which commits it."""
        model, seed = self._model.info, item.seed
        picture, metadata = image_key(model.id, seed), metadata_key(model.id, seed)
        encoded = item.timed("encode", lambda: encode_png(generated, model))
        document = encode_metadata(generated, model, encoded, picture)
        item.timed("put_image", lambda: self._put(picture, encoded.png, IMAGE_CONTENT_TYPE))
        item.timed("put_metadata", lambda: self._put(metadata, document, METADATA_CONTENT_TYPE))
        return SeedResult(
            seed=seed,
            status=SeedStatus.SUCCEEDED,
            caption=generated.caption,
            image_uri=self._store.uri(picture),
            metadata_uri=self._store.uri(metadata),
            sha256=encoded.sha256,
            width=encoded.width,
            height=encoded.height,
            bytes=len(encoded.png),
            model_id=model.id,
            timings={**item.timings, "total_ms": milliseconds(item.entered)},
        )

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        """Write an object; wait, with growing and jittered pauses, for a store that does not answer.

        Meanwhile the hand-over fills up and the device waits: nothing is generated twice because the store was away.
        """
        deadline = time.monotonic() + self._patience_s
        pause = RETRY_FIRST_S
        while True:
            try:
                return self._store.put(key, data, content_type)
            except StorageUnreachable as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("storage away, waiting", action="storage_waiting", key=key, error=str(error))
                if self._stopping.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311  # jitter is no secret
                    raise GivenBack(f"stopping while {error}") from error
                pause = min(2 * pause, RETRY_MAX_S)
