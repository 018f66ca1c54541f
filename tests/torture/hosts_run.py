"""Work over several hosts, one cut off for a while, one gone for good: ``python -m tests.torture.hosts_run [--quick]``.

Redis and the object store are on one host, a worker on each of two others, B and C, and the client on a fourth, D. One
run is a story: work is shared; the cable of C is pulled for longer than its lease, and put in again; B loses its power;
C ends all that is left, and makes again the pictures that B had made alone. Prints the figures, writes
``tests/benchmarks/results/hosts.json`` and the README's table, and fails if anything was lost or torn.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from producer.client import Job
from producer.contract import SeedStatus, image_key
from tests.benchmarks.measure import cpu_s, machine, machine_cpu_s
from tests.benchmarks.report import DISTURBED, between, keep
from tests.support import ROOT
from tests.torture.bench import Death, wait_until
from tests.torture.hosts import NoHosts
from tests.torture.hosts_bench import HostsBench, running_hosts_bench
from tests.torture.stand_in import MODEL_ID, picture
from worker.local.process import Process
from worker.local.stack import ending_on_signals
from worker.machine import usable_cores

RESULTS = ROOT / "tests" / "benchmarks" / "results" / "hosts.json"
MARKS = ("<!-- hosts -->\n", "<!-- end of hosts -->\n")
NAMES = B, C, D = "b", "c", "d"
ALONE = range(900_000, 900_032)
"""What each of the two workers makes while the other one is away."""

CUT_LEASES = 1.25
"""How many leases the cable of C is pulled for."""

PATIENCE_S = 120.0


class Scale(NamedTuple):
    """How large a story is."""

    seeds: int
    ms_per_seed: float
    lease_s: float


SMALL = Scale(600, 30, 5)
FULL = Scale(5000, 10, 20)


@dataclass
class Figures:
    """What a story has shown."""

    seeds: int
    lease_s: float
    share_b: float = 0.0
    """Part of the work that B did while both were there."""
    cut_s: float = 0.0
    cut_redelivered_s: float = 0.0
    """From the cut of C until what it held was in the queue again."""
    back_s: float = 0.0
    """From the healing until C computed again."""
    off_redelivered_s: float = 0.0
    """From the loss of power until what B held was in the queue again."""
    lost: int = 0
    failed: int = 0
    torn: int = 0
    computed_twice: int = 0
    compared: int = 0
    """Pictures that both hosts made, each while the other one was away."""
    differing: int = 0
    seconds: float = 0.0


class Story:
    """One run on a bench."""

    def __init__(self, bench: HostsBench, scale: Scale) -> None:
        self.bench = bench
        self.scale = scale
        self.figures = Figures(scale.seeds, scale.lease_s)
        self.b: Process
        self.c: Process
        self.healed_at = 0.0

    def tell(self) -> Figures:
        """Run it."""
        started = time.monotonic()
        bench, scale, figures = self.bench, self.scale, self.figures
        first = range(scale.seeds * 6 // 10)
        second = range(len(first), scale.seeds)
        self.b = bench.worker_on(B, scale.ms_per_seed)
        made = self.make_alone(self.b)
        self.c = bench.worker_on(C, scale.ms_per_seed)
        clients = {"first": bench.submit_on(D, "first", first)}
        self.share()
        self.cut()
        clients["second"] = bench.submit_on(D, "second", second)
        self.come_back()
        self.power_off()
        for (job_id, client), seeds in zip(clients.items(), (first, second), strict=True):
            wait_until(lambda: client.exit_status is not None, "the client's end", PATIENCE_S)  # noqa: B023  # at once
            assert client.exit_status == 0, client.output()[-2000:]
            self.account(bench.client.get(job_id), seeds)
        counts = bench.computed_counts()
        figures.computed_twice = sum(counts[seed] - 1 for seed in range(scale.seeds))
        again = self.make_alone(self.c)
        figures.compared = len(made)
        figures.differing = sum(again[seed] != png for seed, png in made.items())
        figures.seconds = time.monotonic() - started
        return figures

    def make_alone(self, worker: Process) -> dict[int, bytes]:
        """Have the only worker there make pictures, also those that are there already; returns them."""
        bench = self.bench
        before = bench.computed_by(worker)
        bench.check(bench.client.submit(ALONE, force=True))
        assert bench.computed_by(worker) - before == len(ALONE)
        return {seed: bench.store.get(image_key(MODEL_ID, seed)) for seed in ALONE}

    def share(self) -> None:
        """See who does how much while both are there."""
        bench = self.bench

        def computed() -> tuple[int, int]:
            return bench.computed_by(self.b), bench.computed_by(self.c)

        self._until_done(self.scale.seeds // 20)
        before_b, before_c = computed()
        self._until_done(self.scale.seeds // 4)
        after_b, after_c = computed()
        self.figures.share_b = (after_b - before_b) / (after_b - before_b + after_c - before_c)

    def cut(self) -> None:
        """Pull the cable of C while it works, and put it in again when others have what it held."""
        bench, figures = self.bench, self.figures
        wait_until(lambda: bench.held_by(self.c), "a busy worker")
        bench.hosts.cut(C)
        cut = Death(time.monotonic(), bench.id_of(self.c), bench.held_by(self.c))
        figures.cut_redelivered_s = bench.redelivered_s(cut, PATIENCE_S)
        time.sleep(max(0.0, cut.at + CUT_LEASES * self.scale.lease_s - time.monotonic()))
        bench.hosts.heal(C)
        self.healed_at = time.monotonic()
        figures.cut_s = self.healed_at - cut.at

    def come_back(self) -> None:
        """Wait until C computes again; what it had in hand when it was cut off it has computed long since."""
        before = self.bench.computed_by(self.c)
        wait_until(lambda: self.bench.computed_by(self.c) > before, "work of the one that is back")
        self.figures.back_s = time.monotonic() - self.healed_at

    def power_off(self) -> None:
        """Take the power of B's host away while it works."""
        bench = self.bench
        wait_until(lambda: bench.held_by(self.b), "a busy worker")
        bench.hosts.power_off(B)
        off = Death(time.monotonic(), bench.id_of(self.b), bench.held_by(self.b))
        assert off.held, "it lost its power while it worked"
        self.figures.off_redelivered_s = bench.redelivered_s(off, PATIENCE_S)

    def account(self, job: Job, seeds: range) -> None:
        """Count what became of the seeds of a job, and look at every picture."""
        results = list(job.results())
        assert len(results) == job.counts.done == len(seeds), job
        fates = {result.seed: result for result in results}
        self.figures.lost += len(set(seeds) - set(fates))
        for seed, result in fates.items():
            succeeded = result.status is SeedStatus.SUCCEEDED
            self.figures.failed += not succeeded
            self.figures.torn += succeeded and not self._is_right(seed, result.sha256)

    def _is_right(self, seed: int, sha256: str | None) -> bool:
        """Return whether the objects of a seed are what the result says, and the picture is that seed's."""
        if not self.bench.is_whole(seed, sha256):
            return False
        with Image.open(io.BytesIO(self.bench.store.get(image_key(MODEL_ID, seed)))) as png:
            return bool(np.array_equal(np.asarray(png.convert("RGB")), picture(seed)))

    def _until_done(self, count: int) -> None:
        redis = self.bench.redis
        wait_until(lambda: int(redis.hget("seedmill:job:first", "succeeded") or 0) >= count, "progress")


def tell(folder: Path, scale: Scale) -> Figures:
    """Run a story on hosts and servers of its own.

    Raises:
        NoHosts: this machine cannot make hosts.
    """
    with running_hosts_bench(folder, *NAMES, lease_s=scale.lease_s) as bench:
        return Story(bench, scale).tell()


COLUMNS = {
    "seeds": "seeds",
    "lost": "lost",
    "torn": "torn",
    "failed": "failed",
    "computed_twice": "computed twice",
    "share_b": "share of B beside C",
    "cut_s": "C cut off for, s",
    "cut_redelivered_s": "redelivery, s",
    "back_s": "C works again after, s",
    "off_redelivered_s": "B without power: redelivery, s",
}


def markdown(results: Mapping[str, Any]) -> str:
    """Return the README's table, after what is to be said of the run."""
    share = results["others_cpu_share"]
    said = f"Other processes took {share:.0%} of the cores meanwhile.\n\n" if share > DISTURBED else ""
    cells = [str(results["figures"][name]) for name in COLUMNS]
    lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS), cells]
    return said + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def put_into(text: str, results: Mapping[str, Any]) -> str:
    """Return the README with the table between its marks."""
    return between(text, MARKS, markdown(results))


def measure(scale: Scale) -> dict[str, Any]:
    """Return the figures of a story, of what machine they are, and the part of it that others took meanwhile."""
    began, busy, ours = time.monotonic(), machine_cpu_s(), cpu_s([os.getpid()])
    with tempfile.TemporaryDirectory() as folder:
        figures = asdict(tell(Path(folder), scale))
    others = machine_cpu_s() - busy - (cpu_s([os.getpid()]) - ours)
    return {
        "machine": machine(),
        "others_cpu_share": round(max(0.0, others) / (time.monotonic() - began) / usable_cores(), 3),
        "figures": {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()},
    }


def main() -> None:
    """Run, print, write, and fail if anything was lost or torn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few seeds and a short lease; nothing is written")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of the whole run alone is written")
    options = parser.parse_args()
    try:
        with ending_on_signals():
            results = measure(SMALL if options.quick else FULL)
    except NoHosts as error:
        print(f"nothing is measured: {error}", file=sys.stderr)
        return
    print(markdown(results))
    keep(results, options.out or (None if options.quick else RESULTS), RESULTS, put_into)
    figures = results["figures"]
    sys.exit(any(figures[name] for name in ("lost", "torn", "failed", "differing")))


if __name__ == "__main__":
    main()
