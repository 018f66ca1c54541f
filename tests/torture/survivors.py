"""What lives through a soak: a worker that nobody kills, the HTTP API if it is wanted, and the data of Redis.

A thread looks at them until the soak is over; another one uses the API as an app does, whatever Redis does meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from statistics import linear_regression
from typing import Any

import redis

from producer import Client
from producer.contract import BACKLOG_KEY
from producer.errors import JobError, QueueError
from tests.torture.bench import Bench
from tests.torture.stand_in import Plan
from tests.torture.watch import FEWEST, Watch
from worker.local.process import Process
from worker.local.servers import start_api

LOOKS = 600
"""Looks that a long soak has; a short one has one each half second."""
CONCURRENCY = 8
"""Messages that the worker holds at most, so that its threads and connections are soon as many as they will be."""
API_EVERY_S = 0.5
API_SEEDS = 6
FIRST_API_SEED = 2_000_000_000

REDIS_BYTES_A_SEED = 2000
"""Most that Redis may keep of a seed until its job expires, in jobs of six seeds and messages of three."""
ENOUGH_SEEDS = 10_000
"""Seeds that have to end before that is told from what comes and goes."""


class Survivors:
    """A worker, and the API.

    Args:
        bench: where they are started.
        seconds: how long the soak is.
        api: whether the API is started and used.
    """

    def __init__(self, bench: Bench, seconds: float, *, api: bool) -> None:
        self.accepted: dict[str, range] = {}
        """Jobs that the API has accepted."""
        self._bench = bench
        self._every_s = max(0.5, seconds / LOOKS)
        self._api = start_api(bench.folder, bench.endpoints.environment()) if api else None
        self._worker: Process | None = None
        self._serves = False
        self._watch = Watch()
        self._data: list[tuple[int, int]] = []
        self._over, self._closed = threading.Event(), False
        self._threads = [threading.Thread(target=self._look_on)]
        if self._api:
            self._threads.append(threading.Thread(target=self._use_api, args=(self._api.port,)))

    def start(self, begin: Callable[[], bool]) -> None:
        """Begin to look, with the worker from the moment on that ``begin()`` is true."""
        self._begin = begin
        for thread in self._threads:
            thread.start()

    def stop_submitting(self) -> None:
        """Submit no more over the API; returns when the last submit has ended."""
        self._over.set()
        for thread in self._threads[1:]:
            thread.join()

    def close(self) -> None:
        """Look no more, and end the API; the worker ends with the bench."""
        self._over.set()
        self._closed = True
        for thread in self._threads:
            thread.join()
        if self._api:
            self._api.process.stop()

    def figures(self) -> dict[str, Any]:
        """Return what was seen, and what of it is a leak."""
        a_seed = self._redis_bytes_a_seed()
        leaks = self._watch.leaks()
        if a_seed is not None and a_seed > REDIS_BYTES_A_SEED:
            leaks.append(f"Redis keeps {a_seed:.0f} bytes of a seed, and {REDIS_BYTES_A_SEED} are allowed")
        if not self._serves or self._worker is None or self._worker.exit_status is not None:
            leaks.append("the worker that nobody kills has ended, or never served")
        return {"watched": self._watch.figures(), "redis_bytes_a_seed": a_seed, "leaks": leaks}

    def _redis_bytes_a_seed(self) -> float | None:
        if len(self._data) < FEWEST or self._data[-1][0] - self._data[0][0] < ENOUGH_SEEDS:
            return None
        return round(linear_regression(*zip(*self._data, strict=True)).slope, 1)

    def _look_on(self) -> None:
        began = time.monotonic()
        while not self._closed:
            time.sleep(self._every_s)
            with suppress(QueueError, redis.RedisError):  # Redis is away
                self._keep_starting()
                ended = int(self._bench.redis.hget(BACKLOG_KEY, "ended") or 0)
                self._data.append((ended, self._bench.redis.info("memory")["used_memory"]))
            at_s = time.monotonic() - began
            if self._worker and self._serves:
                self._watch.look("worker", self._worker.pid, at_s)
            if self._api:
                self._watch.look("api", self._api.process.pid, at_s)

    def _keep_starting(self) -> None:
        """Start the worker until it has once served: one that finds no Redis or no store ends at once."""
        if self._serves or (self._worker is None and not self._begin()):
            return
        if self._worker is None or self._worker.exit_status is not None:
            self._worker = self._bench.worker(Plan(ms_per_seed=15), wait=False, SEEDMILL_CONCURRENCY=str(CONCURRENCY))
        self._serves = self._bench.is_ready(self._worker)

    def _use_api(self, port: int) -> None:
        number = 0
        with Client(url=f"http://127.0.0.1:{port}", chunk_size=3) as client:
            while not self._over.wait(API_EVERY_S):
                first = FIRST_API_SEED + number * API_SEEDS
                job_id = f"soak-api-{number}"
                with suppress(QueueError, JobError):  # refused, or no result of a job yet: asked again
                    client.submit(range(first, first + API_SEEDS), job_id=job_id)
                    self.accepted[job_id] = range(first, first + API_SEEDS)
                    number += 1
                    list(client.get(f"soak-api-{max(0, number - 20)}").results())
                    client.queue()
