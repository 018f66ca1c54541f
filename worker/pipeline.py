"""The stages of a seed: generate in batches, then encode and publish; one outcome per seed.

This module alone knows the stages and their order. Batches run on the device thread while finished pictures are
encoded and uploaded on other threads; a bounded hand-over between the two keeps memory flat when the store is slow.
A seed that several orders want at the same time is computed once. Stages turn errors into outcomes: one bad seed fails
alone. Nothing here knows Celery.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from secrets import token_hex
from typing import Any, Protocol

import structlog
from structlog.contextvars import bound_contextvars

from worker.batcher import Batcher
from worker.errors import DecodeError, GivenBack, StorageSilent
from worker.model.generated import Generated, ModelInfo, unheard
from worker.model.isolate import generate_each
from worker.monitoring import metrics
from worker.monitoring.busy import Busy
from worker.monitoring.tracing import OFF, Traces
from worker.order import Order
from worker.publish import Publisher
from worker.threads import started_pool
from worker.work import InFlight, Outcome, Work, milliseconds

log = structlog.get_logger(__name__)

HANDOVER_BATCHES = 4
"""Batches of generated pictures that may wait for encoding and upload before the device waits for them."""


class Model(Protocol):
    """What the pipeline needs of a model; :class:`worker.model.engine.Engine` is one."""

    info: ModelInfo

    def draw(self, seeds: Sequence[int]) -> Sequence[Any]:
        """Return the latent of each seed, in order; called from any thread, while the device works."""
        ...

    def generate(self, seeds: Sequence[int], latents: Sequence[Any], free: Callable[[], None]) -> list[Generated]:
        """Return one result per seed, in order, from what :meth:`draw` gave for it.

        It is called for one batch at a time; once it has called ``free``, which it need not, for the next one too, from
        another thread.
        """
        ...


class Pipeline:
    """Seeds in, published pictures out.

    Args:
        model: generates pictures and captions.
        publisher: where they go.
        max_batch: most seeds that the model gets at once.
        upload_threads: pictures encoded and uploaded side by side.
        batch_wait_s: seconds that a batch that is not full waits for more seeds.
        traces: gets a span of each batch and of each publication.
    """

    def __init__(
        self,
        model: Model,
        publisher: Publisher,
        *,
        max_batch: int,
        upload_threads: int,
        batch_wait_s: float = 0.0,
        traces: Traces = OFF,
    ) -> None:
        self._model = model
        self._publisher = publisher
        self._traces = traces
        self._batcher: Batcher[Work] = Batcher(self._run_batch, max_batch=max_batch, wait_s=batch_wait_s)
        self._in_flight = InFlight()
        self._finishers = started_pool(upload_threads, "upload", setting="SEEDMILL_UPLOAD_THREADS")
        self._handover = threading.BoundedSemaphore(HANDOVER_BATCHES * max_batch)
        self._orders: weakref.WeakSet[Order] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._device = Busy(metrics.DEVICE_BUSY.inc)

    @property
    def device_busy_s(self) -> float:
        """Seconds that the model has been at the oldest call of it; 0 if at none, infinite if the device has ended."""
        if self._batcher.has_broken:
            return math.inf
        return self._device.oldest_s

    @property
    def waiting(self) -> int:
        """How many seeds wait for the device."""
        return len(self._batcher)

    def start(self) -> None:
        """Begin to work."""
        self._batcher.start()

    def stop_waiting(self) -> None:
        """Give back what waits for a store that does not answer: the worker is stopping."""
        self._publisher.stop_waiting()

    def give_back(self, reason: GivenBack) -> None:
        """Let go of every seed that has no outcome yet: another worker will do it."""
        self.stop_waiting()
        self._let_go(reason)

    def close(self, timeout_s: float | None = None) -> bool:
        """Take no more seeds, finish those inside, and return when the last upload has ended.

        With a timeout, returns False if the device did not end in time; then nothing more can be waited for.
        """
        if not self._batcher.close(timeout_s):
            return False
        self._finishers.shutdown(wait=True)
        return True

    def process(self, seeds: Sequence[int], order: Order) -> list[Outcome]:
        """Generate and publish the seeds; blocks until each has its outcome, and returns them in order."""
        futures = self._enter(seeds, order)
        joined = self._in_flight.join(seeds, futures, order.urgency, order.job, order.trace)
        metrics.COALESCED.inc(len(joined.work) - len(joined.new))
        try:
            order.hold(joined.work)
            with suppress(Exception):  # the device thread tries again, and tells whose fault it is
                self._draw(joined.new)
            wanted = joined.new + joined.hastened
            self._batcher.submit(wanted, job=order.job, tenant=order.tenant, urgency=order.urgency)
        except BaseException as error:  # who has joined it meanwhile must not wait in vain
            back = _given_back(error)
            for item in joined.new:
                item.end(back)
            raise back from error
        return [future.result() for future in futures]

    def find(self, seeds: Sequence[int], order: Order, *, whole: bool = True) -> list[Outcome]:
        """Look for the seeds among what is published; returns in order a result, ``None``, or why it cannot be told.

        ``whole`` holds each picture to its SHA-256, which reads all of it.
        """
        futures = self._enter(seeds, order)
        for seed, future in zip(seeds, futures, strict=True):
            item = Work(seed)
            item.join(future)
            self._finishers.submit(self._look, item, whole)
        return [future.result() for future in futures]

    def _enter(self, seeds: Sequence[int], order: Order) -> list[Future[Outcome]]:
        with self._lock:
            self._orders.add(order)
        return order.want(len(seeds))

    def _draw(self, work: Sequence[Work]) -> None:
        """Draw the latents that are missing; as a rule on the thread of the chunk, while the device is at others."""
        if undrawn := [item for item in work if item.latent is None]:
            for item, latent in zip(undrawn, self._model.draw([item.seed for item in undrawn]), strict=True):
                item.latent = latent

    def _let_go(self, reason: GivenBack) -> None:
        """Give back every seed that has no outcome yet."""
        with self._lock:
            orders = list(self._orders)
        for order in orders:
            order.give_back(reason)

    def _run_batch(self, waiting: list[Work], free: Callable[[], None]) -> None:
        try:
            if batch := [item for item in waiting if item.begin()]:
                self._generate_batch(batch, free)
        except BaseException as error:  # the device thread lives on, and nobody waits in vain
            for item in waiting:
                item.end(GivenBack(f"the batch was left by {type(error).__name__}", counts=True))
            with suppress(Exception):  # it may be one that cannot be told
                log.exception("batch left by an error", action="batch_escaped")

    def _generate_batch(self, batch: list[Work], free: Callable[[], None]) -> None:
        started, name = time.perf_counter(), token_hex(6)
        for item in batch:
            item.batch = name
            item.timings["queue_ms"] = milliseconds(item.entered)

        def generate(some: Sequence[Work]) -> list[Generated]:
            if some is batch:
                return self._generate(some, free)
            metrics.RETRIES.labels("batch").inc()  # a part of one that failed
            return self._generate(some, unheard)

        with self._traces.batch(name, batch), bound_contextvars(batch_id=name):
            generated = generate_each(generate, batch)
            spent = milliseconds(started)
            metrics.BATCH_SEEDS.observe(len(batch))
            log.info("batch generated", action="batch_generated", seeds=len(batch), ms=spent)
        for item, result in zip(batch, generated, strict=True):
            item.timings["generate_ms"] = spent
            if isinstance(result, Exception):
                item.fail(result)
            else:
                self._hand_over(item, result)

    def _generate(self, batch: Sequence[Work], free: Callable[[], None]) -> list[Generated]:
        """Call the model; of a batch that failed the parts keep the device, or each would wait for another batch."""
        with self._device.at_work():
            try:
                self._draw(batch)  # of work that was hastened before its own order had come to that
                return self._model.generate([item.seed for item in batch], [item.latent for item in batch], free)
            except Exception:
                raise
            except BaseException as error:  # SystemExit and its like, which would end the device thread
                raise DecodeError(f"the model raised {type(error).__name__}: {error}") from error

    def _hand_over(self, item: Work, generated: Generated) -> None:
        """Give a picture to the uploading threads; waits while too many are there already."""
        self._handover.acquire()
        try:
            item.generated = generated
            self._finishers.submit(self._finish, item)
        except BaseException:
            self._handover.release()
            raise

    def _finish(self, item: Work) -> None:
        try:
            with self._traces.publication(item), bound_contextvars(job_id=item.job, batch_id=item.batch):
                self._end(item, lambda: self._publish(item))
        except BaseException as error:  # of the traces: nobody waits in vain
            item.fail(error)
        finally:
            self._handover.release()

    def _publish(self, item: Work) -> Outcome:
        result = self._publisher.publish(item)
        if result:
            metrics.count_stages(item.timings, time.perf_counter() - item.entered)
            log.debug("seed published", action="seed_published", seed=item.seed, ms=result.timings["total_ms"])
        return result

    def _look(self, item: Work, whole: bool) -> None:
        self._end(item, lambda: self._publisher.find(item, whole=whole))

    def _end(self, item: Work, call: Callable[[], Outcome]) -> None:
        """End a seed with what ``call`` returns or raises; the thread lives on."""
        try:
            item.end(call())
        except StorageSilent as error:  # others may reach it, and this worker would keep one chunk after the other
            item.fail(error)
            self._let_go(error)
        except BaseException as error:
            item.fail(error)


def _given_back(error: BaseException) -> GivenBack:
    """Return why seeds go back that never came into line."""
    if isinstance(error, RuntimeError):
        return GivenBack("the worker is stopping")
    return GivenBack(f"not begun: {type(error).__name__}", counts=True)
