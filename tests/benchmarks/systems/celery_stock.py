"""Celery as the tutorials have it, and with the extension that batches messages.

``celery``: the prefork pool with a child for each core, each with its own model on one thread (a task has one seed,
whose picture is made on one thread anyway), acknowledged late, a prefetch of one, results in Redis. One picture after
the other is made, encoded and uploaded in a child, while its siblings do the same.

``celery-batches``: 32 messages a call. One process, since batches want one model; a pool of two threads, so that one
batch is on the device while the other is encoded and uploaded (eight threads of its own), or the solo pool, and a flush
interval: the fastest of those in ``choices``. It prefetches without limit, so that the next batch fills while others
are not acknowledged yet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from celery import Celery
from celery.result import AsyncResult

from tests.benchmarks.systems.base import DONE_S, START_S, Mode, System

TASK = "benchmark.generate"


class CeleryStock(System):
    """Prefork, one seed a task."""

    name = "celery"
    database = 1

    def start(self) -> None:
        """Start the worker and the client's app."""
        url = self.world.endpoints.redis_url.removesuffix("/0") + f"/{self.database}"
        self._app = Celery(broker=url, backend=url, set_as_current=False)
        self._app.conf.task_default_queue = self.name
        argv = [sys.executable, "-m", "celery", "--app", "tests.benchmarks.systems.celery_app", "worker"]
        argv += ["--loglevel", "INFO", "--hostname", f"{self.name}@%h", "--queues", self.name, *self._pool()]
        argv += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        environment = {"SEEDMILL_BENCHMARK_CELERY": self.name, "BENCHMARK_REDIS_URL": url, **self._environment()}
        worker = self.launch(self.name, argv, environment)
        worker.wait_ready(lambda: " ready." in worker.output(), timeout_s=START_S)

    def stop(self) -> None:
        """End the worker, then the client's connections."""
        super().stop()
        if hasattr(self, "_app"):
            self._app.close()

    def modes(self) -> Mapping[str, Mode]:
        """Return the one way: a task for each seed."""
        return {"": self._many}

    def lone(self, seed: int) -> None:
        """Send one task and wait for its result."""
        self._send(seed).get(timeout=DONE_S)

    def _many(self, seeds: Sequence[int]) -> None:
        sent = [self._send(seed) for seed in seeds]
        for seed, result in zip(seeds, sent, strict=True):
            assert result.get(timeout=DONE_S)["seed"] == seed
            result.forget()

    def _send(self, seed: int) -> AsyncResult:
        return self._app.send_task(TASK, args=[seed])

    def _pool(self) -> list[str]:
        return ["--pool", "prefork", "--concurrency", str(self.world.cores)]

    def _environment(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": "1", "PATH": os.environ.get("PATH", "")}


class CeleryBatches(CeleryStock):
    """Batches of messages in one process."""

    name = "celery-batches"
    database = 2
    choices: ClassVar[Sequence[Mapping[str, Any]]] = (
        {"pool": "threads", "flush_s": 0.05},
        {"pool": "solo", "flush_s": 0.05},
        {"pool": "threads", "flush_s": 0.5},
    )

    def _pool(self) -> list[str]:
        return ["--pool", self.options["pool"], "--concurrency", "2"]

    def _environment(self) -> dict[str, str]:
        return {"SEEDMILL_BENCHMARK_FLUSH_S": str(self.options["flush_s"])}
