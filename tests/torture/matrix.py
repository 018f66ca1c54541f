"""The loss matrix: ``python -m tests.torture.matrix [--kills 30]``; ``make torture`` runs it.

Workers are killed at every stage of a seed's life, Redis and the object store are killed, the network is cut, workers
are frozen, messages are poisoned, seeds kill their workers; each row counts what was accepted and what became of it.
Prints a table, writes ``tests/benchmarks/results/loss_matrix.json`` and the README's table, and fails if anything was
lost or torn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from producer.client import Job
from producer.contract import QUEUE, SeedStatus, held_key
from tests.support import ROOT
from tests.torture.bench import Bench, Death, kill, running_bench, wait_until
from tests.torture.proxy import Proxy
from tests.torture.stand_in import STAGES, Plan
from tests.unit.test_envelope import HOSTILE
from worker.local.process import Process

RESULTS = ROOT / "tests" / "benchmarks" / "results" / "loss_matrix.json"
README = ROOT / "README.md"
MARKS = ("<!-- loss matrix -->\n", "<!-- end of loss matrix -->\n")
HEAD = "| fault | times | seeds accepted | lost | torn | failed | computed twice | redelivery p50, s | max, s |"
AT_ONCE = 5
"""Workers that are killed in one round."""

JOB_SEEDS = 96
ROUND_S = 180.0
PATIENCE_S = 6.0
"""Seconds that a victim has to find work and die of it."""

FRESH = itertools.count(1)


@dataclass
class Row:
    """One fault and what it did."""

    fault: str
    faults: int = 0
    accepted: int = 0
    lost: int = 0
    torn: int = 0
    failed: int = 0
    """Seeds that failed although they were not the ones that had to."""
    computed_twice: int = 0
    redelivered_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the row as it is published; seconds of redelivery are those of workers that held something."""
        times = self.redelivered_s
        return {
            **{name: value for name, value in vars(self).items() if name != "redelivered_s"},
            "redelivery_p50_s": round(statistics.median(times), 2) if times else None,
            "redelivery_max_s": round(max(times), 2) if times else None,
        }


class Matrix:
    """Fault after fault on one bench."""

    def __init__(self, bench: Bench, kills: int) -> None:
        self.bench = bench
        self.kills = kills
        self.rng = random.Random(1)

    def rows(self) -> list[Row]:
        """Run everything; few rounds for the slow faults."""
        few = max(1, self.kills // 6)
        rows = [self.stage(stage) for stage in STAGES]
        rows.append(self.rounds("Redis killed for 3 s", few, self.redis_restart))
        rows.append(self.rounds("object store killed for 5 s", few, self.storage_restart))
        rows.append(self.rounds("connections reset, refused for 3 s", few, self.network_cut))
        rows.append(self.rounds("worker frozen past its lease of 5 s", few, self.freeze))
        rows.append(self.rounds(f"{len(HOSTILE)} malformed messages", few, self.poison))
        rows.append(self.rounds("a seed that kills its worker", few, self.killer))
        return rows

    def submit(self, count: int = JOB_SEEDS) -> Job:
        """Submit a job of seeds that no other job has."""
        start = next(FRESH) * 1000
        return self.bench.client.submit(range(start, start + count))

    def stage(self, stage: str) -> Row:
        """Kill workers at one stage, several in a round, while another one lives."""
        row = Row(f"worker killed: {stage}")
        survivor = self.bench.worker(Plan(ms_per_seed=30), SEEDMILL_CONCURRENCY="1")
        while row.faults < self.kills:
            job = self.submit()
            self.watch(row, [self.victim(stage) for _ in range(min(AT_ONCE, self.kills - row.faults))])
            self.account(row, job)
        kill(survivor)
        return row

    def victim(self, stage: str) -> Process:
        """Start a worker that kills itself when it comes to a stage for the first or second time."""
        plan = Plan(ms_per_seed=10, kill_at=stage, kill_hit=self.rng.randint(1, 2))
        return self.bench.worker(plan, wait=False, SEEDMILL_CONCURRENCY="3")

    def watch(self, row: Row, victims: Sequence[Process]) -> None:
        """Note the deaths of victims and when each one's messages are back; who finds no work to die of is not counted.

        All are looked at in turn, so that no wait for one is added to the time of another.
        """
        alive, dead = list(victims), list[Death]()
        patience = time.monotonic() + PATIENCE_S
        while alive or dead:
            assert time.monotonic() < patience + ROUND_S, "messages of the dead are not given back"
            for victim in [one for one in alive if one.exit_status is not None]:
                alive.remove(victim)
                row.faults += 1
                death = self.bench.death_of(victim)
                if death.held:
                    dead.append(death)
            for death in [one for one in dead if not self.bench.redis.exists(held_key(one.worker_id))]:
                dead.remove(death)
                row.redelivered_s.append(time.monotonic() - death.at)
            if time.monotonic() > patience:
                while alive:
                    kill(alive.pop())
            time.sleep(0.01)

    def rounds(self, name: str, count: int, fault: Callable[[Row], tuple[Job, Sequence[int]]]) -> Row:
        """Run one fault several times."""
        row = Row(name)
        for _ in range(count):
            job, bad = fault(row)
            row.faults += 1
            self.account(row, job, bad)
            for process in self.bench.workers:
                if process.exit_status is None:
                    kill(process)
            wait_until(lambda: not self.bench.client.queue().workers, "workers forgotten", 40)
        return row

    def busy(self, job: Job) -> None:
        """Wait until some of a job is done."""
        wait_until(lambda: self.bench.client.get(job.id).counts.done >= 8, "a beginning")

    def redis_restart(self, _: Row) -> tuple[Job, Sequence[int]]:
        """Kill Redis amid a job."""
        self.bench.worker(Plan(ms_per_seed=10))
        job = self.submit()
        self.busy(job)
        self.bench.kill_valkey()
        time.sleep(3)
        self.bench.start_valkey()
        return job, ()

    def storage_restart(self, _: Row) -> tuple[Job, Sequence[int]]:
        """Kill the object store amid a job."""
        self.bench.worker(Plan(ms_per_seed=10))
        job = self.submit()
        self.busy(job)
        self.bench.kill_s3()
        time.sleep(5)
        self.bench.start_s3()
        return job, ()

    def network_cut(self, _: Row) -> tuple[Job, Sequence[int]]:
        """Cut a worker off from Redis amid a job."""
        proxy = Proxy(self.bench.valkey.port)
        self.bench.worker(Plan(ms_per_seed=10), port=proxy.port)
        job = self.submit()
        self.busy(job)
        proxy.refuse = True
        proxy.reset()
        time.sleep(3)
        proxy.refuse = False
        job.wait(ROUND_S, check=False)
        proxy.close()
        return job, ()

    def freeze(self, row: Row) -> tuple[Job, Sequence[int]]:
        """Freeze a worker for longer than its lease of 5 s, and let it go on when others have done its work."""
        frozen = self.bench.worker(Plan(ms_per_seed=10), SEEDMILL_LEASE_S="5")
        job = self.submit()
        wait_until(lambda: self.bench.held_by(frozen), "a busy worker")
        os.kill(frozen.pid, signal.SIGSTOP)
        death = Death(time.monotonic(), self.bench.id_of(frozen), 1)
        self.bench.worker(Plan(ms_per_seed=10), SEEDMILL_LEASE_S="5")
        row.redelivered_s.append(self.bench.redelivered_s(death))
        job.wait(ROUND_S, check=False)
        os.kill(frozen.pid, signal.SIGCONT)
        time.sleep(1)
        return job, ()

    def poison(self, _: Row) -> tuple[Job, Sequence[int]]:
        """Put malformed messages before, amid and behind a job."""
        worker = self.bench.worker(Plan(ms_per_seed=10))
        texts = list(HOSTILE.values())
        self.bench.redis.lpush(QUEUE, *texts[::2])
        job = self.submit()
        self.bench.redis.lpush(QUEUE, *texts[1::2])
        job.wait(ROUND_S, check=False)
        assert worker.exit_status is None
        return job, ()

    def killer(self, row: Row) -> tuple[Job, Sequence[int]]:
        """Let one seed kill every worker that tries it; the workers are started again as they die."""
        start = next(FRESH) * 1000
        bad = start + self.rng.randrange(JOB_SEEDS)
        job = self.bench.client.submit(range(start, start + JOB_SEEDS))
        while not job.refresh().status.is_terminal:
            worker = self.bench.worker(Plan(ms_per_seed=2, kills=[bad]))
            wait_until(lambda: worker.exit_status is not None or job.refresh().status.is_terminal, "an end")  # noqa: B023
            if worker.exit_status is not None:
                death = self.bench.death_of(worker)
                self.bench.worker(Plan(ms_per_seed=2, kills=[bad]), wait=False)
                row.redelivered_s.append(self.bench.redelivered_s(death))
        return job, (bad,)

    def account(self, row: Row, job: Job, bad: Sequence[int] = ()) -> None:
        """Wait for a job and count what became of its seeds."""
        job.wait(ROUND_S, check=False)
        fates = {result.seed: result for result in job.results()}
        counts = self.bench.computed_counts()
        row.accepted += job.counts.total
        row.lost += job.counts.total - len(fates)
        for seed, result in fates.items():
            row.failed += result.status is SeedStatus.FAILED and seed not in bad
            row.computed_twice += counts[seed] - 1 if seed not in bad else 0
            if result.status is SeedStatus.SUCCEEDED:
                row.torn += not self.bench.is_whole(seed, result.sha256)
        wait_until(lambda: self.bench.messages() == 0, "no message left", 30)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the README."""
    lines = [HEAD, re.sub(r"[^|]+", " --- ", HEAD)]
    for row in rows:
        cells = ("" if value is None else str(value) for value in row.values())
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_readme(rows: Sequence[Mapping[str, Any]]) -> None:
    """Put the table into the README, between its marks."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    README.write_text(before + MARKS[0] + markdown(rows) + MARKS[1] + after, encoding="utf-8")


def main() -> None:
    """Run, print, write, and fail if a bar is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_bench(Path(folder)) as bench:
        rows = [row.summary() for row in Matrix(bench, options.kills).rows()]
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Valkey 9, stand-in model"
    )
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    write_readme(rows)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    Console(width=200).print(table)
    assert not sum(row["lost"] + row["torn"] + row["failed"] for row in rows), "something was lost"
    assert max(row["redelivery_max_s"] or 0 for row in rows) <= 30


if __name__ == "__main__":
    main()
