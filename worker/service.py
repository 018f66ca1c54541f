"""The worker process: start-up in named steps, serving, and an orderly end.

Cheap checks come first, so that a wrong setting is told at once; the model is loaded, warmed and checked before the
first message is taken. Whatever fails before that ends the process with one line that says why. Metrics and heartbeat
are there from the start.

The end is told in the log: no more is taken; what was taken is finished, uploads included, and recorded; the worker
leaves. What is not finished after SEEDMILL_DRAIN_TIMEOUT_S is given back, and a second signal gives back everything
at once.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Protocol

import redis
import structlog
from celery import Celery
from celery.signals import worker_ready
from celery.worker import state

from producer.client import Client
from producer.connection import connect, translated
from producer.contract import MIXED
from producer.errors import QueueError
from producer.redaction import redact
from worker import duties, task
from worker.access import check_access, check_whole
from worker.app import build_app
from worker.chunk import ChunkRunner
from worker.errors import GivenBack, QueueTaken
from worker.manifest import ManifestWriter
from worker.memory import keep_freed_memory
from worker.monitoring import tracing
from worker.monitoring.tally import tally
from worker.monitoring.windows import Visible, Windows
from worker.pipeline import Model, Pipeline
from worker.publish import Publisher
from worker.queue.claim import EXIT_QUEUE_TAKEN
from worker.queue.control import RemoteControl
from worker.queue.events import node_name
from worker.queue.gate import Gate
from worker.queue.ledger import Ledger
from worker.queue.pool import TaskPool
from worker.results import Delivery, Recorder
from worker.routine import Routine
from worker.running import Running
from worker.settings import WorkerSettings
from worker.storage import ObjectStore

log = structlog.get_logger(__name__)

LEAVE_S = 5.0
"""Seconds that giving everything back may take when the process ends at once."""

BATCHES_IN_HAND = 4
"""Batches of which a worker holds the seeds: enough to keep its device busy, and the rest is for other workers."""

EXIT_HUNG = 70
"""Exit status of a process whose device hangs."""


class ServedModel(Model, Visible, Protocol):
    """A loaded model; :class:`worker.model.engine.Engine` is one."""

    def facts(self) -> Mapping[str, Any]:
        """Return what the log says of it."""
        ...


class Service:
    """One worker process; every step is a method, in the order of :meth:`run`.

    Args:
        settings: from the environment.
        load: loads the model and proves that its results do not depend on the batch.
    """

    def __init__(self, settings: WorkerSettings, load: Callable[[WorkerSettings], ServedModel]) -> None:
        self.settings = settings
        self._load = load
        self._windows = Windows(settings)
        self._routines: list[Routine] = []
        self._stopping = False

    def run(self) -> int:
        """Start, serve until told to stop, end in order; returns the exit status."""
        try:
            self._windows.open()
            self.check_queue()
            self.check_storage()
            self.open_traces()
            self.load_model()
            self.claim_queue()
            self.settle_memory()
            self.open_pipeline()
            self.open_recorder()
            try:
                return self.serve()
            finally:
                self.close()
        except QueueTaken as error:
            log.critical("the queue is not to be had", action="queue_taken", error=str(error))
            return EXIT_QUEUE_TAKEN
        finally:
            self._windows.close()

    def check_queue(self) -> None:
        """Reach Redis."""
        self._redis = connect(self.settings.redis_url)
        with translated(self.settings.redis_url):
            check_whole(self._redis)
            check_access(self.settings.redis_url, self.settings.redis_trusted_hosts)
        self._windows.watch(self._redis)
        log.info("queue reached", action="queue_reached", url=redact(self.settings.redis_url))

    def check_storage(self) -> None:
        """Reach the bucket."""
        self._store = ObjectStore(self.settings, connections=self.settings.upload_threads + 2)
        self._store.ensure_bucket()
        log.info("storage reached", action="storage_reached", where=self._store.where)

    def open_traces(self) -> None:
        """Prepare what sends spans, if the environment names a collector."""
        self._traces = tracing.open_traces(self.settings.queue)

    def load_model(self) -> None:
        """Load the model, warm it up and prove that its results do not depend on the batch."""
        self._model = self._load(self.settings)
        if not self._model.info.trained:
            log.warning("the checkpoint is untrained: its pictures mean nothing", action="model_untrained")
        log.info("model ready", action="model_ready", **self._model.facts())

    def claim_queue(self) -> None:
        """Have the queue for this model, so that no job gets results of two."""
        settings = self.settings
        self._ledger = Ledger(
            connect(settings.redis_url, decode=False, retries=0),
            limit=settings.concurrency,
            seeds=BATCHES_IN_HAND * settings.max_batch,
            result_ttl_s=settings.result_ttl_s,
            lease_s=settings.lease_s,
            queue=settings.queue,
        )
        with translated(settings.redis_url):
            self._ledger.claim(MIXED if settings.mixed_models else self._model.info.id)

    def settle_memory(self) -> None:
        """Tell the C library and Python's collector that what is loaded stays."""
        kept = keep_freed_memory()
        gc.collect()
        gc.freeze()
        log.info("memory settled", action="memory_settled", freed_is_kept=kept)

    def open_pipeline(self) -> None:
        """Start the threads that generate and publish."""
        settings = self.settings
        publisher = Publisher(self._store, self._model.info, patience_s=settings.s3_patience_s)
        self._pipeline = Pipeline(
            self._model,
            publisher,
            max_batch=settings.max_batch,
            upload_threads=settings.upload_threads,
            batch_wait_s=settings.batch_wait_ms / 1000,
            traces=self._traces,
        )
        self._pipeline.start()

    def open_recorder(self) -> None:
        """Prepare what records what becomes of messages."""
        settings = self.settings
        client = connect(settings.redis_url)
        self._recorder = Recorder(
            client,
            settings.redis_url,
            ttl_s=settings.result_ttl_s,
            held=self._ledger.key,
            model_id=self._model.info.id,
            gallery_size=settings.gallery_size,
            queue=settings.queue,
        )
        self._client = Client(settings.redis_url)
        self._manifests = ManifestWriter(self._client, self._store)
        self._gate, self._running = Gate(), Running()

    def serve(self) -> int:
        """Take messages until a signal says to stop; what was taken is finished first."""
        app = self._application()
        worker_ready.connect(self._on_ready, weak=False)
        control = RemoteControl(self._ledger, self._recorder.cancel, self._stop_once)
        control.register()
        self._windows.show(self._model, self._ledger, lambda: self._pipeline.waiting, lambda: not control.paused)
        worker = app.Worker(
            hostname=node_name(self.settings.node_name),
            pool=TaskPool,
            concurrency=self.settings.concurrency,
            loglevel=self.settings.log_level.upper(),
            without_gossip=True,
            without_mingle=True,
            task_events=self.settings.task_events,
            quiet=True,
        )
        worker.start()
        return int(worker.exitcode or 0)

    def close(self) -> None:
        """Finish what is inside, give back the rest, and leave."""
        blocked = not self._pipeline.close(LEAVE_S)
        for routine in self._routines:
            routine.close()
        self._give_everything_back()
        self._traces.close()
        log.info("worker stopped", action="worker_stopped")
        if blocked:  # its thread would keep the process from ending
            hung = self._pipeline.device_busy_s > 0
            log.critical("the device did not end" if hung else "uploads did not end", action="end_forced")
            os._exit(EXIT_HUNG if hung else 0)
        self._ledger.close()
        self._recorder.close()
        self._client.close()
        self._redis.close()

    def _application(self) -> Celery:
        app = build_app(self.settings, self._ledger, self._windows.heartbeat.turned)
        runner = ChunkRunner(self._pipeline, self._recorder, self._gate, self._running, self._traces)
        task.register(app, task.Handler(runner, self._recorder, self._ledger, self._running).handle)
        return app

    def _on_ready(self, **_: Any) -> None:
        """Begin with all that is done beside the work; called once messages can be taken.

        Celery would swallow an error, and the worker serve without a sign of life.
        """
        try:
            self._begin()
        except Exception:
            log.exception("the worker cannot begin", action="worker_failed")
            self._leave_at_once()

    def _begin(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGQUIT, self._on_second_signal)
        info = self._model.info
        facts = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": str(self._model.device),
            "queue": self.settings.queue,
            "model_id": info.id,
            "trained": info.trained,
            "image_size": info.image_size,
            "latent_dim": info.latent_dim,
            "started_at": datetime.now(UTC).isoformat(),
        }

        def told() -> dict[str, Any]:
            return {**facts, **tally()}

        self._routines = [
            duties.heartbeat(self._ledger, told, lost=self._queue_is_lost),
            duties.cancellations(self._recorder, self._running),
            duties.reconciler(self._redis),
            duties.manifests(self._manifests),
            duties.watchdog(
                lambda: self._pipeline.device_busy_s, self.settings.device_timeout_s, bark=self._device_hangs
            ),
        ]
        with suppress(redis.RedisError):  # first, so that from the first message on its end would be seen
            duties.beat(self._ledger, told, lost=self._queue_is_lost)
        for routine in self._routines:
            routine.start()
        self._windows.serving()
        log.info("worker ready", action="worker_ready", worker=self._ledger.id, concurrency=self.settings.concurrency)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Stop in order: take no more, finish what was taken, and give back what is not finished in time."""
        if self._stopping:
            self._on_second_signal(number, None)
        self._stop(signal.Signals(number).name)

    def _stop_once(self) -> None:
        """Stop in order because a remote control command says so."""
        if not self._stopping:
            self._stop("shutdown command")

    def _stop(self, reason: str) -> None:
        self._stopping = True
        self._windows.stopping()
        timeout_s, held = self.settings.drain_timeout_s, self._ledger.held
        log.info("stopping: no more is taken", action="worker_stopping", signal=reason, held=held, drain_s=timeout_s)
        self._ledger.stop_taking()
        self._pipeline.stop_waiting()
        self._manifests.stop()
        self._gate.close()
        for seconds, call in ((timeout_s, self._drain_is_over), (timeout_s + 2 * LEAVE_S, self._leave_at_once)):
            timer = threading.Timer(seconds, call)
            timer.daemon = True
            timer.start()
        state.should_stop = 0

    def _drain_is_over(self) -> None:
        log.warning("not finished in time, giving it back", action="drain_over", held=self._ledger.held)
        self._recorder.stop_waiting()
        self._pipeline.give_back(GivenBack("not finished before the worker had to stop"))

    def _on_second_signal(self, number: int, _: FrameType | None) -> None:
        log.warning("leaving at once", action="worker_leaving", signal=signal.Signals(number).name)
        self._leave_at_once(128 + number)

    def _leave_at_once(self, status: int = 1) -> None:
        """Give everything back and end the process, whatever its threads are at."""
        self._give_everything_back(self._running.deliveries())
        os._exit(status)

    def _queue_is_lost(self) -> None:
        """End the process: its queue has another model by now, which does what is given back."""
        self._leave_at_once(EXIT_QUEUE_TAKEN)

    def _device_hangs(self) -> None:
        """End the process; what it is at may be the cause, so it goes back as what a worker died of."""
        self._give_everything_back()
        os._exit(EXIT_HUNG)

    def _give_everything_back(self, blameless: Sequence[Delivery] = ()) -> None:
        """Put all that is held back into the queue; where Redis is away, others do so when the lease has run out."""

        def leave() -> None:
            self._recorder.stop_waiting()
            for delivery in blameless:
                with suppress(QueueError):
                    self._recorder.give_back(delivery, counts=False)
            try:
                if returned := self._ledger.leave():
                    log.info("given back", action="messages_given_back", messages=returned)
            except redis.RedisError as error:
                log.warning("others give back what is held", action="give_back_failed", error=str(error))

        thread = threading.Thread(target=leave, daemon=True)
        thread.start()
        thread.join(LEAVE_S)
