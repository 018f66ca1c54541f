"""One job of a million seeds with two workers, all of it killed half-way: ``make bench-million``.

A process submits the job, polls it and reads its results; two workers with a stand-in for a fast device do it; memory
and CPU time of all are looked at meanwhile. Once half of the seeds have ended, both workers and Valkey are killed, and
started again. In the end every seed must have one result, one line in the manifest, and a picture and metadata that are
what both say. Prints a table and writes it into the README, and ``results/million.json``; a run over fewer seeds writes
only what ``--out`` names. Objects go into one file (tests/benchmarks/packed_s3.py), or over rclone into one each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from rich.console import Console

from producer.errors import JobNotFound, QueueError
from tests.benchmarks import million_report
from tests.benchmarks.measure import end_tree, machine, machine_cpu_s, own_cpu_s, own_rss_mb
from tests.benchmarks.million_check import check_objects, computed, read_manifest, redis_by_kind
from tests.benchmarks.million_producer import JOB_ID
from tests.benchmarks.packed_s3 import FILE
from tests.benchmarks.report import keep
from tests.torture.bench import Bench, kill, running_bench
from tests.torture.packed import PackedBench
from tests.torture.stand_in import Plan
from worker.local.process import Process
from worker.local.stack import ending_on_signals
from worker.machine import usable_cores

MILLION = 1_000_000
WORKERS = 2
MS_PER_SEED = 0.3
"""What a seed takes on the stand-in, which a worker's threads sleep."""

SAMPLES = 300
"""Looks at memory that a run is to have, about."""

FASTEST_PER_S = 1000
"""Seeds a second that nobody has seen exceeded, from which the time between two looks follows."""

READY_S = 120.0
"""Longest time that a process takes to start."""

LONGEST_S = 2400.0
"""Seconds after which a run is given up."""


class Run:
    """One run: its processes, and what was seen of them."""

    def __init__(self, bench: Bench, seeds: int) -> None:
        self.bench = bench
        self.seeds = seeds
        self.samples: list[dict[str, Any]] = []
        self.kill: dict[str, Any] = {}
        self._over = threading.Event()
        self._processes: dict[str, Process] = {}
        self._generation = 0

    def run(self) -> list[dict[str, Any]]:
        """Do it all; returns what the producer said."""
        self.start_workers()
        url = {"SEEDMILL_REDIS_URL": self.bench.endpoints.redis_url, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "tests.benchmarks.million_producer", str(self.seeds)]
        producer = Process("the producer", command, log=self.bench.folder / "producer.log", environment=url)
        self._processes["producer"] = producer
        self._started = time.monotonic()
        sampler = threading.Thread(target=self._sample_all)
        sampler.start()
        try:
            self._until(lambda: self.done() >= self.seeds / 2, producer)
            self.kill_all()
            self._until(lambda: producer.exit_status is not None, producer)
        finally:
            self._over.set()
            sampler.join()
            end_tree([producer.pid] if producer.exit_status is None else [])
        said = [json.loads(line) for line in producer.output().splitlines() if line.startswith("{")]
        if producer.exit_status or said[-1]["action"] != "results read":
            raise RuntimeError(f"the producer ended with status {producer.exit_status}:\n{producer.output()[-2000:]}")
        return said

    def start_workers(self) -> None:
        """Start both, and wait until they take messages."""
        workers = [self.bench.worker(Plan(ms_per_seed=MS_PER_SEED), wait=False) for _ in range(WORKERS)]
        for place, worker in enumerate(workers):
            worker.wait_ready(lambda: self.bench.is_ready(worker), timeout_s=READY_S)  # noqa: B023  # used at once
            self._processes[f"worker {place + 1}"] = worker

    def done(self) -> int:
        """Return how many seeds have ended."""
        with suppress(JobNotFound):
            return self.bench.client.get(JOB_ID).counts.done
        return 0

    def kill_all(self) -> None:
        """End both workers and Valkey without a word, and start them again."""
        held = sum(self.bench.held_by(worker) for worker in self.bench.workers)
        before, began = self.done(), time.monotonic()
        self._generation += 1
        self.bench.kill_valkey()
        for worker in self.bench.workers:
            kill(worker)
        killed = time.monotonic()
        self.bench.start_valkey()
        back = time.monotonic()
        after = self.done()
        self.start_workers()
        ready = time.monotonic()
        self._until(lambda: self.done() > after, self._processes["producer"])
        self.kill = {
            "at_s": began - self._started,
            "done_before": before,
            "done_after": after,
            "messages_held": held,
            "valkey_back_s": back - killed,
            "workers_ready_s": ready - back,
            "first_seeds_s": time.monotonic() - ready,
        }

    def _until(self, reached: Callable[[], bool], producer: Process) -> None:
        """Wait for something while the producer lives."""
        while not reached() and producer.exit_status is None:
            if time.monotonic() - self._started > LONGEST_S:
                raise TimeoutError(f"given up after {LONGEST_S} s, with {self.done()} of {self.seeds} seeds done")
            time.sleep(0.2)

    def _sample_all(self) -> None:
        every_s = max(0.5, self.seeds / FASTEST_PER_S / SAMPLES)
        while not self._over.wait(every_s):
            with suppress(QueueError, redis.RedisError, OSError):  # Valkey is away, or a process has ended
                self.samples.append(self._sample())

    def _sample(self) -> dict[str, Any]:
        """Look at everything once; raises QueueError while Valkey is away."""
        bench, generation = self.bench, self._generation
        processes = {**self._processes, "valkey": bench.valkey.process, "s3": bench.s3.process}
        alive = {name: process.pid for name, process in processes.items() if process.exit_status is None}
        memory: dict[str, int] = bench.redis.info("memory")
        return {
            "at_s": round(time.monotonic() - self._started, 1),
            "generation": generation,
            "done": self.done(),
            "rss_mb": {name: round(own_rss_mb(pid), 1) for name, pid in alive.items()},
            "cpu_s": {name: round(own_cpu_s(pid), 2) for name, pid in alive.items()},
            "redis_used_mb": round(memory["used_memory"] / 1e6, 1),
            "disk_mb": round(size_mb(bench.folder), 1),
        }


def size_mb(folder: Path) -> float:
    """Return what Valkey's append-only files, and the file of all objects, have on the disk, in 1e6 bytes."""
    total = 0
    for path in [*folder.glob("valkey/appendonlydir/*"), folder / "s3" / FILE]:
        with suppress(FileNotFoundError):  # renamed meanwhile, or an S3 server that has no such file
            total += path.stat().st_size
    return total / 1e6


def measure(seeds: int, folder: Path, *, packed: bool) -> dict[str, Any]:
    """Run, check everything that was made, and return the figures."""
    began, busy = time.monotonic(), machine_cpu_s()
    with running_bench(folder, PackedBench if packed else Bench) as bench:
        run = Run(bench, seeds)
        said = run.run()
        others = others_share(run.samples, busy, began)
        manifest = read_manifest(bench, seeds)
        keys = redis_by_kind(bench.redis)
    found = million_report.summary(seeds, said, run.samples, run.kill)
    checked = {**manifest.figures, **(check_objects(folder / "s3" / FILE, manifest) if packed else {})}
    if manifest.digest != found["results"]["digest"]:
        raise RuntimeError("manifest and results do not have the same SHA-256 of each seed")
    facts = {"machine": machine(), "s3": "one file" if packed else "rclone", "others_cpu_share": others}
    return {**facts, **found, "redis": keys, "checked": checked, "computed": computed(bench.computed, seeds)}


def others_share(samples: list[dict[str, Any]], busy: float, began: float) -> float:
    """Return the part of the machine's cores that went to others since then."""
    ours: dict[tuple[str, int], float] = {}
    for sample in samples:
        for name, spent in sample["cpu_s"].items():
            ours[name, sample["generation"] if name.startswith(("worker", "valkey")) else 0] = spent
    spent = machine_cpu_s() - busy - sum(ours.values()) - time.process_time()
    return round(max(0.0, spent) / (time.monotonic() - began) / usable_cores(), 3)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=MILLION)
    parser.add_argument("--s3", choices=["packed", "rclone"], default="packed")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of the whole run alone is written")
    parser.add_argument("--folder", type=Path, help="where data and logs go and stay; by default they are removed")
    options = parser.parse_args()
    with ending_on_signals(), tempfile.TemporaryDirectory() as name:
        results = measure(options.seeds, options.folder or Path(name), packed=options.s3 == "packed")
    Console(width=140).print(million_report.markdown(results), markup=False)
    whole = options.seeds == MILLION and options.s3 == "packed"
    out = options.out or (million_report.RESULTS if whole else None)
    keep(results, out, million_report.RESULTS, million_report.put_into)


if __name__ == "__main__":
    main()
