"""A seeded chaos soak: ``python -m tests.torture.soak [--seconds 3600] [--seed 1] [--out FILE]``.

Two workers, jobs all the while; a worker is killed every five seconds; each quarter of an hour Redis is killed twice,
and the object store and the network go away once; one seed kills its workers, some messages are none. Every accepted
seed must have its fate, every object must be whole. A third worker and the HTTP API live through all of it: their
memory, open files and threads may not grow, nor what Redis keeps beyond what it keeps of each job. Prints what
happened, and fails if anything is lost or leaks.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from producer import Client
from producer.client import Job
from producer.contract import ACTIVE_KEY, QUEUE, JobStatus, SeedStatus, seeds_key
from producer.errors import QueueError
from tests.benchmarks.measure import machine
from tests.benchmarks.report import write_json
from tests.torture.bench import Bench, running_bench, wait_until
from tests.torture.packed import PackedBench
from tests.torture.proxy import Proxy
from tests.torture.stand_in import Plan
from tests.torture.survivors import Survivors
from worker.local.process import Process

KILL_EVERY_S = 5.0
JOB_EVERY_S = 0.25
JOB_SEEDS = 6
FIRST_SEED = 1_000_000_000
KILLER = FIRST_SEED + 7
KILLER_JOB = "soak-1"
KILLER_SHARE = 0.1
"""Part of a soak after which the worker that is to live through it starts also if the killer, which spares it, has not
ended."""
ROUND_S = 900.0
"""Time in which each outage comes once; a shorter soak has them all as well."""
DRAIN_S = 180.0
LONG_S = 300.0
"""A soak from here on has the API as well, and an S3 server that does not become slow with the number of objects."""


class Soak:
    """One soak: what happened so far, and what is still to happen."""

    def __init__(self, bench: Bench, seconds: float, seed: int, *, api: bool) -> None:
        self.bench = bench
        self.seconds = seconds
        self.rng = random.Random(seed)
        self.proxy = Proxy(bench.valkey.port)
        self.workers: list[Process] = []
        self.accepted: dict[str, range] = {}
        self.refused = self.deaths = self.kills = self.outages = 0
        self.over = threading.Event()
        self.started = time.monotonic()
        self.survivors = Survivors(bench, seconds, api=api)

    def run(self) -> dict[str, Any]:
        """Cause chaos, then wait until everything has ended; returns the figures."""
        threads = [threading.Thread(target=call) for call in (self.supervise, self.produce, self.kill_workers)]
        for thread in threads:
            thread.start()
        self.survivors.start(self._is_safe)
        try:
            self.cause_outages()
            self.over.set()
            threads[1].join()
            threads[2].join()
            self.survivors.stop_submitting()
            self.accepted |= self.survivors.accepted
            return self.figures(self.drain())
        finally:
            self.over.set()
            self.stopped = True
            threads[0].join()
            self.survivors.close()
            self.proxy.close()

    stopped = False

    def _sleep_until(self, share: float) -> None:
        time.sleep(max(0.0, self.started + share * self.seconds - time.monotonic()))

    def drain(self) -> float:
        """Wait until every accepted job has ended; returns the seconds, and says which have not."""
        try:
            return wait_until(self.all_ended, "an end of all jobs", DRAIN_S)
        except AssertionError as error:
            left = [repr(job) for job in self.jobs() if not job.status.is_terminal]
            error.add_note(f"{self.bench.messages()} messages; not ended are {len(left)} jobs: {', '.join(left[:20])}")
            raise

    def cause_outages(self) -> None:
        """Let Redis, the object store and the network go away, the same again each quarter of an hour."""
        rounds = max(1, round(self.seconds / ROUND_S))
        outages = ((0.3, self.restart_redis), (0.45, self.cut_storage), (0.65, self.cut_network))
        for number in range(rounds):
            for share, event in (*outages, (0.8, self.restart_redis)):
                self._sleep_until((number + share) / rounds)
                event()
        self._sleep_until(1.0)

    def _is_safe(self) -> bool:
        """Return whether the seed that kills its workers is through with that, or has had its time."""
        if time.monotonic() - self.started > KILLER_SHARE * self.seconds:
            return True
        return KILLER_JOB in self.accepted and self.bench.client.get(KILLER_JOB).status.is_terminal

    def supervise(self) -> None:
        """Keep two workers alive, as a supervisor does; one of them behind the proxy."""
        while not self.stopped:
            for place in range(2):
                if place >= len(self.workers) or self.workers[place].exit_status is not None:
                    port = self.proxy.port if place else 0
                    worker = self.bench.worker(Plan(ms_per_seed=15, kills=[KILLER]), port=port, wait=False)
                    self.deaths += place < len(self.workers)
                    self.workers[place : place + 1] = [worker]
            time.sleep(0.1)

    def produce(self) -> None:
        """Submit jobs all the while; what is not accepted is tried again under the same id."""
        number = 0
        with Client(self.bench.endpoints.redis_url, chunk_size=3) as client:
            while not self.over.wait(JOB_EVERY_S):
                seeds = range(FIRST_SEED + number * JOB_SEEDS, FIRST_SEED + (number + 1) * JOB_SEEDS)
                try:
                    client.submit(seeds, job_id=f"soak-{number}")
                except QueueError:
                    self.refused += 1
                    continue
                self.accepted[f"soak-{number}"] = seeds
                number += 1
                if number % 40 == 1:
                    self.bench.redis.lpush(QUEUE, "no message at all")

    def kill_workers(self) -> None:
        """Kill one of the two workers every few seconds."""
        while not self.over.wait(KILL_EVERY_S):
            victim = self.workers[self.rng.randrange(2)]
            if victim.exit_status is None:
                victim.signal(9)  # type: ignore[arg-type]
                self.kills += 1

    def restart_redis(self) -> None:
        """Kill Redis and bring it back after a while."""
        self._outage(self.bench.kill_valkey, self.bench.start_valkey, 2.5)

    def cut_storage(self) -> None:
        """Kill the object store and bring it back after a while."""
        self._outage(self.bench.kill_s3, self.bench.start_s3, min(12.0, self.seconds / 6))

    def cut_network(self) -> None:
        """Cut the second worker off from Redis for a while."""

        def cut() -> None:
            self.proxy.refuse = True
            self.proxy.reset()

        self._outage(cut, lambda: setattr(self.proxy, "refuse", False), 3.0)

    def _outage(self, begin: Callable[[], object], end: Callable[[], object], seconds: float) -> None:
        begin()
        time.sleep(seconds)
        end()
        self.outages += 1

    def all_ended(self) -> bool:
        """Return whether every accepted job has ended."""
        return all(job.status.is_terminal for job in self.jobs()) and not self.bench.messages()

    def jobs(self) -> list[Job]:
        """Return all accepted jobs as they are now."""
        return [self.bench.client.get(job_id) for job_id in self.accepted]

    def figures(self, drained_s: float) -> dict[str, Any]:
        """Check every accepted seed and count."""
        lost = torn = failed = left = 0
        for job in self.jobs():
            fates = {result.seed: result for result in job.results()}
            lost += sum(seed not in fates for seed in self.accepted[job.id])
            if job.status is JobStatus.SUCCEEDED:
                left += int(self.bench.redis.exists(seeds_key(job.id)))
            for result in fates.values():
                failed += result.status is SeedStatus.FAILED and result.seed != KILLER
                if result.status is SeedStatus.SUCCEEDED:
                    torn += not self.bench.is_whole(result.seed, result.sha256)
        counts = self.bench.computed_counts()
        return {
            "seconds": self.seconds,
            "seeds": JOB_SEEDS * len(self.accepted),
            "lost": lost,
            "torn": torn,
            "failed_innocents": failed,
            "refused_submits": self.refused,
            "worker_deaths": self.deaths,
            "kills": self.kills,
            "outages": self.outages,
            "device_runs": sum(counts.values()),
            "computed_twice": sum(count - 1 for seed, count in counts.items() if seed != KILLER),
            "drained_s": round(drained_s, 1),
            "left_over_in_redis": left + int(self.bench.redis.zcard(ACTIVE_KEY)),
            **self.survivors.figures(),
        }


def soak(bench: Bench, seconds: float, seed: int) -> dict[str, Any]:
    """Run one soak; returns its figures."""
    return Soak(bench, seconds, seed, api=seconds >= LONG_S).run()


def main() -> None:
    """Run, print, and fail if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    kind = PackedBench if options.seconds >= LONG_S else Bench
    with tempfile.TemporaryDirectory() as folder, running_bench(Path(folder), kind) as bench:
        figures = soak(bench, options.seconds, options.seed)
    print(json.dumps(figures, indent=2))
    if options.out:
        write_json({"machine": machine(), **figures}, options.out)
    assert not figures["lost"] + figures["torn"] + figures["failed_innocents"] + figures["left_over_in_redis"], figures
    assert not figures["leaks"], figures["leaks"]


if __name__ == "__main__":
    main()
