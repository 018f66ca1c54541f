"""seedmill itself, one worker or two, with the settings that it has by default.

Given seeds in three ways: a job for each seed, all submitted before the first is waited for; jobs of 32 in a list; one
job of the whole range. Two workers on one machine share its cores: each decodes on half of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any
from urllib.request import urlopen

from producer import Client
from producer.connection import connect
from producer.contract import KNOWN_KEY_PREFIX
from tests.benchmarks.devices import FAST_INFO, ModelSpec
from tests.benchmarks.systems.base import DONE_S, Mode, System, World
from worker.local.process import Process, free_port

CHUNK = 32


class Seedmill(System):
    """Workers on seedmill's queue; ``url`` and ``s3_url`` are given where a proxy stands before a server."""

    name = "seedmill"
    workers = 1

    def __init__(self, world: World, spec: ModelSpec, *, url: str = "", s3_url: str = "", **options: Any) -> None:
        super().__init__(world, spec, **options)
        self._url = url or world.endpoints.redis_url
        self._s3_url = s3_url or world.endpoints.s3_url
        self._model_id = FAST_INFO.id
        self._metrics: list[int] = []

    def start(self) -> None:
        """Start the workers, all at once, and wait for them."""
        self.client = Client(self._url)
        workers = [self._launch() for _ in range(self.workers)]
        for worker in workers:
            self.world.stack.wait_for(worker)
        (seen, *_) = self.client.queue().workers
        self._model_id = str(seen["model_id"])

    def stop(self) -> None:
        """End the workers, then the client's connections."""
        super().stop()
        self.client.close()

    def modes(self) -> Mapping[str, Mode]:
        """Return the three ways."""
        return {"lone": self._lone_jobs, "lists": self._lists, "range": self._range}

    def lone(self, seed: int) -> None:
        """Submit one seed, wait for it and read its result."""
        (result,) = self.client.submit(seed).wait(DONE_S).results()
        self.inside[seed] = result.timings["generate_ms"] + result.timings["encode_ms"]

    def forget(self) -> None:
        """Empty the index of what is published."""
        with connect(self._url) as client:
            for key in client.scan_iter(f"{KNOWN_KEY_PREFIX}*"):
                client.delete(key)

    def busy_s(self) -> float:
        """Return the mean of what the workers' metrics say."""
        return mean(_busy_s(port) for port in self._metrics)

    @property
    def model_id(self) -> str:
        """First part of its object keys."""
        return self._model_id

    def _lone_jobs(self, seeds: Sequence[int]) -> None:
        for job in [self.client.submit(seed) for seed in seeds]:
            job.wait(DONE_S)

    def _lists(self, seeds: Sequence[int]) -> None:
        lists = [list(seeds[start : start + CHUNK]) for start in range(0, len(seeds), CHUNK)]
        for job in [self.client.submit(one) for one in lists]:
            job.wait(DONE_S)

    def _range(self, seeds: Sequence[int]) -> None:
        self.client.submit(range(seeds[0], seeds[-1] + 1)).wait(DONE_S)

    def _launch(self) -> Process:
        module = ["tests.benchmarks.devices"] if self.spec.is_stand_in else ["worker", "run"]
        threads = 0 if self.workers == 1 else max(1, self.world.cores // self.workers)
        self._metrics.append(free_port())
        environment = {
            "SEEDMILL_METRICS_PORT": str(self._metrics[-1]),
            "SEEDMILL_REDIS_URL": self._url,
            "AWS_ENDPOINT_URL_S3": self._s3_url,
            "SEEDMILL_CPU_THREADS": str(threads),
        }
        return self.launch(f"{self.name} {len(self.processes)}", [sys.executable, "-m", *module], environment)


def _busy_s(port: int) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("seedmill_device_busy_seconds_total "))


class SeedmillTwo(Seedmill):
    """Two workers."""

    name = "seedmill-two"
    workers = 2
