"""How a tenant fares beside one with far more work: ``python -m tests.benchmarks.tenants``; ``make bench-tenants``.

Tenant A has a million seeds as a bulk job, and a thousand interactive jobs of one seed each that never become fewer;
tenant B submits lone seeds, one after the other. Then A has that million and nine more bulk jobs, and B one job of a
thousand. Both are measured on an idle queue as well, and with jobs that name no tenant, so that each has a turn of its
own. Turns are taken in the queue and in the worker's line for its device, a stand-in for a fast one. Prints a table and
writes it into the README, and ``results/tenants.json``; a quick run writes only what ``--out`` names.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from producer import Client, records
from producer.client import Job
from producer.contract import Priority
from producer.records import Backlog, Extras
from producer.submission import Submission
from tests.benchmarks import tenants_report
from tests.benchmarks.devices import ModelSpec, write_bank
from tests.benchmarks.measure import cpu_s, machine, machine_cpu_s
from tests.benchmarks.report import keep
from tests.benchmarks.systems.base import World
from tests.benchmarks.systems.seedmill import Seedmill
from tests.support import ROOT
from worker.local.stack import ending_on_signals, running_stack
from worker.machine import usable_cores
from worker.model.engine import Engine

MILLION = 1_000_000
CROWD = 1000
"""Interactive jobs of one seed that A always has in the queue."""

OTHER_JOBS = 9
"""Bulk jobs that A has beside its million while B has one, with as many seeds each as B's."""

JOB = 1000
"""Seeds of B's job."""

WATCHED_S = 8.0
"""Longest time that B's job is watched."""

LONE = {"alone": 30, "tenants": 20, "jobs": 1}
"""Lone seeds of B in a round, by way: one where it waits for a thousand of A's, and for the bulk taken in between."""

PAUSE_S = 0.03
DONE_S = 120.0


class Seeds:
    """Gives seeds that nobody has had before, since what is published already is not computed again."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> range:
        """Return the next so many."""
        taken = range(self._next, self._next + count)
        self._next = taken.stop
        return taken


class Queue:
    """The queue as two tenants use it; neither says who it is unless ``named``."""

    def __init__(self, url: str, seeds: Seeds, *, named: bool) -> None:
        self.client = Client(url)
        self._seeds = seeds
        self._named = named
        self._jobs: list[str] = []

    def submit(self, tenant: str, count: int, priority: Priority) -> Job:
        """Enqueue a job of that many new seeds."""
        extras = Extras(tenant=tenant if self._named else "")
        submission = Submission.check(self._seeds.take(count), None, self.client.settings, priority, extras=extras)
        self.client._run(submission.call(""))
        self._jobs.append(submission.job_id)
        return self.client.get(submission.job_id)

    def ended(self) -> int:
        """Return how many seeds have ended, whosesoever."""
        return Backlog.parse(self.client._run(records.backlog())).ended

    def clear(self) -> None:
        """Cancel all that was submitted, and wait until workers have let go of it."""
        for job in self._jobs:
            self.client._run(records.cancel_job(job))
        deadline = time.monotonic() + DONE_S
        while (status := self.client.queue()).waiting or status.held:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{status.waiting} messages wait and {status.held} are held after all was cancelled")
            time.sleep(0.02)
        self.client.close()


@contextmanager
def crowd(queue: Queue, url: str) -> Iterator[None]:
    """Keep a thousand interactive jobs of A in the queue, inside."""
    over = threading.Event()

    def feed() -> None:
        with Client(url) as client:
            while not over.wait(0.02):
                for _ in range(CROWD - client.queue().interactive):
                    queue.submit("a", 1, Priority.INTERACTIVE)

    for _ in range(CROWD):
        queue.submit("a", 1, Priority.INTERACTIVE)
    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join()


def lone_ms(queue: Queue, count: int) -> list[float]:
    """Return how long seeds of B took that it submitted one after the other, from the submit to the end."""
    waits = []
    for _ in range(count):
        time.sleep(PAUSE_S)
        record = queue.submit("b", 1, Priority.INTERACTIVE).wait(DONE_S).record
        assert record.completed_at is not None
        waits.append((record.completed_at - record.created_at).total_seconds() * 1000)
    return waits


def job_of_b(queue: Queue) -> dict[str, float]:
    """Return the speed of a job of B, in seeds a second, and that of all else while it had work."""
    job = queue.submit("b", JOB, Priority.BULK)
    while not job.refresh().counts.done:
        time.sleep(0.005)
    started, before, had = time.monotonic(), queue.ended(), job.counts.done
    while job.counts.done < JOB and time.monotonic() < started + WATCHED_S:
        time.sleep(0.01)
        job.refresh()
    seconds, own = time.monotonic() - started, job.counts.done - had
    others = queue.ended() - before - own
    return {"b_seeds_per_s": own / seconds, "a_seeds_per_s": others / seconds, "b_share": own / (own + others)}


def measure_way(url: str, seeds: Seeds, way: str, lone: int) -> dict[str, Any]:
    """Measure B once, with A or without it."""
    queue = Queue(url, seeds, named=way == "tenants")
    if way == "alone":
        found = {"lone_ms": lone_ms(queue, lone), **job_of_b(queue)}
        queue.clear()
        return found
    queue.submit("a", MILLION, Priority.BULK)
    with crowd(queue, url):
        waits = lone_ms(queue, lone)
    queue.clear()
    queue = Queue(url, seeds, named=way == "tenants")
    for count in (MILLION, *[JOB] * OTHER_JOBS):
        queue.submit("a", count, Priority.BULK)
    found = {"lone_ms": waits, **job_of_b(queue)}
    queue.clear()
    return found


def measure(world: World, rounds: int, lone: dict[str, int]) -> dict[str, Any]:
    """Measure all ways in rounds, so that what the machine does meanwhile meets all alike."""
    spec = ModelSpec("fast", str(world.folder / "fast"))
    write_bank(Path(spec.folder), Engine(*ModelSpec("demo", str(ROOT / "checkpoints")).files, device="cpu"))
    seeds, found = Seeds(), []
    with Seedmill(world, spec):
        began, busy, ours = time.monotonic(), machine_cpu_s(), cpu_s([os.getpid()])
        for number in range(rounds):
            found.append({way: measure_way(world.endpoints.redis_url, seeds, way, lone[way]) for way in lone})
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        others = machine_cpu_s() - busy - (cpu_s([os.getpid()]) - ours)
        share = max(0.0, others) / (time.monotonic() - began) / usable_cores()
    return {"machine": machine(), "others_cpu_share": round(share, 3), **tenants_report.summary(found)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round: its figures say little")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of the whole run alone is written")
    options = parser.parse_args()
    lone = {way: min(10, count) for way, count in LONE.items()} if options.quick else LONE
    with ending_on_signals(), tempfile.TemporaryDirectory() as name, running_stack(Path(name) / "stack") as stack:
        stack.start_servers()
        results = measure(World(stack, Path(name), usable_cores()), 1 if options.quick else 2, lone)
    Console(width=140).print(tenants_report.markdown(results), markup=False)
    out = options.out or (None if options.quick else tenants_report.RESULTS)
    keep(results, out, tenants_report.RESULTS, tenants_report.put_into)


if __name__ == "__main__":
    main()
