"""How many callers one process of the API serves: ``python -m tests.benchmarks.api``; ``make bench-api`` runs it.

Starts Valkey, an S3 server, a worker, and ``seedmill serve`` with API keys and rates; locust plays the callers, and a
process of its own reads event streams. The worker is a stand-in of a set pace with tiny pictures, so that cores are
left for what is measured. Callers and servers share the machine: the table says what each process took. Prints tables,
and writes one into the README and ``results/api.json``; a quick run writes only what ``--out`` names. CPU time is from
/proc (Linux).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from producer import Client, keys, records
from producer.contract import ACTIVE_KEY, Priority
from producer.records import Extras
from producer.submission import Submission
from tests.benchmarks import api_report
from tests.benchmarks.measure import cpu_s, machine, machine_cpu_s, rss_mb
from tests.benchmarks.report import keep
from tests.torture.bench import wait_until
from tests.torture.stand_in import Plan
from worker.local.process import Process, free_port
from worker.local.stack import Stack, ending_on_signals, running_stack

PACE_MS = 15.0
"""What the worker takes for a seed."""

STREAMED_JOBS, READERS = 100, 2
"""Jobs that run while they are polled, and event streams of each."""

CHUNK = 2
"""Seeds of a message: so many results are recorded, and told of, at once."""

FED, FED_SEEDS, FEED_EVERY_S = 25, 24, 2.0
"""Jobs that those who heed Retry-After look at: how many at first, with how many seeds, and how often there is another.

Beside the jobs that are streamed each takes about fifty seconds, so about as many end as are added.
"""

PUBLISHED = 32
"""Seeds whose pictures are asked for."""

SUBMITTED = 1_000_000
"""More seeds than callers submit in a phase."""

RATE = 1_000_000
"""Requests that the callers' key may make in a minute, so that they are counted and none is refused."""

START_S = 60.0
DONE_S = 120.0


CALLERS = ("pollers", "heeders", "feeders", "waiters", "submitters", "readers")
"""Who calls, as locust's file has them."""


@dataclass(frozen=True)
class Load:
    """Who calls in a phase, and for how long after all are there."""

    pollers: int = 0
    heeders: int = 0
    feeders: int = 0
    waiters: int = 0
    submitters: int = 0
    readers: int = 0
    streamed_seeds: int = 0
    """Seeds of each job that is streamed: as many as keep the worker busy till the end; 0 for no streams."""
    ramp_s: int = 8
    seconds: int = 25

    @property
    def callers(self) -> int:
        """All of them."""
        return sum(getattr(self, who) for who in CALLERS)

    @property
    def offered_per_s(self) -> int | None:
        """Requests a second, if each is answered within its second; of those who wait or heed, nobody can say."""
        return None if self.waiters or self.heeders else self.pollers + self.submitters + self.readers

    def to_dict(self) -> dict[str, Any]:
        """Return what is written of it."""
        callers = {name: value for name in CALLERS if (value := getattr(self, name))}
        return {"callers": callers, "seconds": self.seconds, "offered_per_s": self.offered_per_s}


LOADS = {
    "heed": Load(heeders=2000, feeders=1, submitters=5, readers=10, streamed_seeds=32, seconds=45),
    "fits": Load(pollers=300, submitters=5, readers=10, streamed_seeds=24),
    "polls": Load(pollers=2000, submitters=5, readers=10, streamed_seeds=24),
    "waits": Load(waiters=2000),
}
QUICK = {
    "heed": Load(heeders=200, feeders=1, submitters=5, readers=10, streamed_seeds=10, ramp_s=2, seconds=5),
    "fits": Load(pollers=50, submitters=5, readers=10, streamed_seeds=10, ramp_s=2, seconds=5),
    "polls": Load(pollers=200, submitters=5, readers=10, streamed_seeds=10, ramp_s=2, seconds=5),
    "waits": Load(waiters=100, ramp_s=2, seconds=5),
}


Known: TypeAlias = Sequence[Mapping[str, Any]]
"""Jobs, as readers of their streams have to know them."""


class Bench:
    """A stack with a worker and the API."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.folder = folder
        self.client = Client(stack.endpoints.redis_url, chunk_size=CHUNK)
        self._redis_url = stack.endpoints.redis_url
        self._environment = stack.endpoints.environment()
        self._started: list[Process] = []
        self._first_seed = 0
        self.key, stored = keys.make_key("callers", rate=RATE)
        with keys.KeyStore(stack.endpoints.redis_url) as store:
            store.add(stored)
        self._tenant = stored.tenant
        worker = self.start("worker", ["-m", "tests.torture.stand_in"], Plan(ms_per_seed=PACE_MS).environment())
        stack.wait_for(worker)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        code = "from producer.cli import main; main()"
        environment = {"SEEDMILL_API_PORT": str(port), "SEEDMILL_API_MAX_WAITING": "20000"}  # one key has a quarter
        self.api = self.start("API", ["-c", code, "serve"], environment)
        self.api.wait_ready(lambda: answers(f"{self.url}/readyz"), timeout_s=START_S)
        self.watched = {"API": self.api, "worker": worker, **stack.servers}
        self.published = self.seeds(PUBLISHED)
        self.client.submit(self.published).wait(DONE_S)

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start a process of Python that finds the stack."""
        whole = {**self._environment, "SEEDMILL_API_AUTH": "required", "PYTHONUNBUFFERED": "1", **(environment or {})}
        log = self.folder / "logs" / f"{name}.log"
        self._started.append(Process(f"the {name}", [sys.executable, *arguments], log=log, environment=whole))
        return self._started[-1]

    def seeds(self, count: int) -> range:
        """Return seeds that nobody has had before."""
        self._first_seed += count
        return range(self._first_seed - count, self._first_seed)

    def run(self, name: str, load: Load) -> dict[str, Any]:
        """Have the callers of a phase call, and see what that costs."""
        folder = self.folder / name
        folder.mkdir()
        jobs = self._submit([load.streamed_seeds] * STREAMED_JOBS) if load.streamed_seeds else []
        sizes = [1 + FED_SEEDS * number // FED for number in range(FED)]
        fed = self._submit(sizes) if load.feeders else []
        rss = {"before_mb": rss_mb([self.api.pid])}
        processes = {**self.watched, "locust": self._start_locust(folder, load, jobs, fed)}
        if jobs:
            processes["readers"] = self._start_readers(folder, jobs)
        wait_for(processes["locust"], (folder / "ramped").exists)
        spent = spend(processes, lambda: wait_for(processes["locust"], (folder / "figures.json").exists))
        rss["during_mb"] = rss_mb([self.api.pid])
        processes["locust"].stop()
        for job in jobs:
            self.client.wait(job["id"], DONE_S)
        streams = json.loads(last_line(processes["readers"])) if jobs else None
        self._drop_the_rest()
        rss["after_mb"] = rss_mb([self.api.pid])
        figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
        return api_report.phase(load.to_dict(), figures, spent, rss, streams)

    def _submit(self, sizes: Iterable[int]) -> list[dict[str, Any]]:
        """Enqueue jobs of the callers with so many seeds each; returns id, first seed and number of seeds of each."""
        found = []
        for size in sizes:
            seeds, extras = self.seeds(size), Extras(tenant=self._tenant)
            submission = Submission.check(seeds, None, self.client.settings, Priority.BULK, extras=extras)
            self.client._run(submission.call(""))
            found.append({"id": submission.job_id, "first": seeds.start, "count": size})
        return found

    def _start_locust(self, folder: Path, load: Load, jobs: Known, fed: Known) -> Process:
        plan = {
            "folder": str(folder),
            "key": self.key,
            "jobs": [job["id"] for job in jobs],
            "fed": [job["id"] for job in fed],
            "fed_seeds": FED_SEEDS,
            "feed_every_s": FEED_EVERY_S,
            "chunk_size": CHUNK,
            "published": list(self.published),
            "first_seed": self.seeds(SUBMITTED).start,
            **{who: getattr(load, who) for who in CALLERS},
        }
        file = str(Path(__file__).with_name("locustfile_api.py"))
        argv = ["-m", "locust", "--locustfile", file, "--headless", "--host", self.url, "--only-summary"]
        argv += ["--users", str(load.callers), "--spawn-rate", str(load.callers / load.ramp_s), "--reset-stats"]
        argv += ["--run-time", str(load.ramp_s + load.seconds)]
        return self.start("locust", argv, {"SEEDMILL_BENCHMARK_CALLERS": json.dumps(plan)})

    def _start_readers(self, folder: Path, jobs: Known) -> Process:
        plan = {"url": self.url, "key": self.key, "redis_url": self._redis_url, "readers": READERS, "jobs": jobs}
        path = folder / "streams.json"
        path.write_text(json.dumps(plan), encoding="utf-8")
        return self.start("readers", ["-m", "tests.benchmarks.streams", str(path)])

    def _drop_the_rest(self) -> None:
        """Cancel what callers have left behind, and wait until the worker has let go of it."""
        redis: Any = self.client._redis
        for job in redis.zrange(ACTIVE_KEY, 0, -1):
            self.client._run(records.cancel_job(job))
        wait_until(lambda: not (seen := self.client.queue()).waiting and not seen.held, "an empty queue", DONE_S)

    def close(self) -> None:
        """End what was started, in reverse order."""
        for process in reversed(self._started):
            process.stop()
        self.client.close()


def answers(url: str) -> bool:
    """Return whether a server says that it is ready."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for(process: Process, ready: Callable[[], bool]) -> None:
    """Return once something is so that a process sees to."""
    process.wait_ready(ready, timeout_s=DONE_S)


def last_line(process: Process) -> str:
    """Wait for the end of a process and return the last line that it wrote."""
    wait_until(lambda: process.exit_status is not None, f"the end of {process.name}", DONE_S)
    if process.exit_status:
        raise RuntimeError(f"{process.name} failed:\n{process.output()}")
    return process.output().splitlines()[-1]


def spend(processes: Mapping[str, Process], call: Callable[[], object]) -> dict[str, float]:
    """Call, and return the seconds that it took and the cores that each process had meanwhile, and all others."""

    def now() -> dict[str, float]:
        return {"": machine_cpu_s(), **{name: cpu_s([process.pid]) for name, process in processes.items()}}

    started, before = time.monotonic(), now()
    call()
    after, seconds = now(), time.monotonic() - started
    whole, *cores = ((after[name] - before[name]) / seconds for name in before)
    found = dict(zip(processes, cores, strict=True))
    return {"seconds": seconds, **found, "others": max(0.0, whole - sum(cores))}


def main() -> None:
    """Measure, print and write; fails if an event was lost or came twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few callers for seconds: its figures say little")
    parser.add_argument("--only", choices=list(LOADS), action="append", help="a phase; may be repeated")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of the whole run alone is written")
    options = parser.parse_args()
    loads, console = QUICK if options.quick else LOADS, Console(width=160)
    found: dict[str, Any] = {"machine": machine(), "quick": options.quick, "pace_seeds_per_s": 1000 / PACE_MS}
    found["phases"] = {}
    with ending_on_signals(), tempfile.TemporaryDirectory() as name, running_stack(Path(name) / "stack") as stack:
        stack.start_servers()
        bench = Bench(stack, Path(name))
        try:
            for phase in options.only or loads:
                console.print(phase, style="dim")
                found["phases"][phase] = bench.run(phase, loads[phase])
        finally:
            bench.close()
    api_report.print_tables(found, console)
    out = options.out or (None if options.quick or options.only else api_report.RESULTS)
    keep(found, out, api_report.RESULTS, api_report.put_into)
    if wrong := api_report.wrong(found):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
