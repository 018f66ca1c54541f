"""The worker process: start-up in named steps, serving, and an orderly end.

Cheap checks come first, so that a wrong setting is told at once; the model is loaded, warmed and checked before the
first message is taken. Whatever fails before that ends the process with one line that says why.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_ready, worker_shutting_down

from producer.connection import connect, redact, translated
from worker import task
from worker.app import build_app
from worker.loading import load_checked_engine
from worker.pipeline import Pipeline
from worker.presence import Presence
from worker.results import Recorder
from worker.settings import WorkerSettings
from worker.storage import ObjectStore

log = structlog.get_logger(__name__)

RESULT_RETRIES = 12
"""Attempts to reach Redis before a finished chunk is given back; with the backoff about ten seconds."""


class Service:
    """One worker process; every step is a method, in the order of :meth:`run`."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings

    def run(self) -> int:
        """Start, serve until told to stop, end in order; returns the exit status."""
        signal.signal(signal.SIGTERM, _leave)  # until Celery takes over; process 1 of a container ignores it otherwise
        self.check_queue()
        self.check_storage()
        self.load_model()
        self.open_pipeline()
        try:
            return self.serve()
        finally:
            self.close()

    def check_queue(self) -> None:
        """Reach Redis."""
        self._redis = connect(self.settings.redis_url)
        with translated(self.settings.redis_url):
            self._redis.ping()
        log.info("queue reached", action="queue_reached", url=redact(self.settings.redis_url))

    def check_storage(self) -> None:
        """Reach the bucket."""
        self._store = ObjectStore(self.settings, connections=self.settings.upload_threads + 2)
        self._store.ensure_bucket()
        log.info("storage reached", action="storage_reached", where=self._store.where)

    def load_model(self) -> None:
        """Load the model, warm it up and prove that its results do not depend on the batch."""
        self._engine = load_checked_engine(self.settings)
        info = self._engine.info
        if not info.trained:
            log.warning("the checkpoint is untrained: its pictures mean nothing", action="model_untrained")
        log.info("model ready", action="model_ready", **self._engine.facts())

    def open_pipeline(self) -> None:
        """Start the threads that generate and publish, and say that this worker lives."""
        settings = self.settings
        self._pipeline = Pipeline(
            self._engine,
            self._store,
            max_batch=settings.max_batch,
            upload_threads=settings.upload_threads,
            patience_s=settings.s3_patience_s,
        )
        self._pipeline.start()
        self._presence = Presence(self._redis, self._engine.info, str(self._engine.device))

    def serve(self) -> int:
        """Take messages until a signal says to stop; what was taken is finished first."""
        app = self._application()
        worker_ready.connect(self._on_ready, weak=False)
        worker_shutting_down.connect(self._on_stop, weak=False)
        worker = app.Worker(
            pool="threads",
            concurrency=self.settings.concurrency,
            loglevel=self.settings.log_level.upper(),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
        return int(worker.exitcode or 0)

    def close(self) -> None:
        """Finish what is inside and leave."""
        self._pipeline.close()
        self._presence.close()
        self._recorder.close()
        self._redis.close()
        log.info("worker stopped", action="worker_stopped")

    def _application(self) -> Celery:
        app = build_app(self.settings)
        client = connect(self.settings.redis_url, retries=RESULT_RETRIES)
        self._recorder = Recorder(client, self.settings.redis_url, ttl_s=self.settings.result_ttl_s)
        task.register(app, self._pipeline.process, self._recorder)
        return app

    def _on_ready(self, **_: Any) -> None:
        self._presence.start()
        log.info("worker ready", action="worker_ready", concurrency=self.settings.concurrency)

    def _on_stop(self, sig: str = "", **_: FrameType | None) -> None:
        log.info("stopping: no new messages, finishing those taken", action="worker_stopping", signal=sig)
        self._pipeline.stop_waiting()


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
