"""What is measured of seedmill alone: round trips, memory while the store is slow, a million seeds, imports."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from producer import Client
from producer.connection import connect
from tests.benchmarks.delay import delayed
from tests.benchmarks.devices import ModelSpec
from tests.benchmarks.measure import Spent, median, meter, peak_mb, timed
from tests.benchmarks.systems.base import DONE_S, World
from tests.benchmarks.systems.seedmill import Seedmill

FIRST_SEED = 640_000
EACH_WAY_MS = 1.0
STORE_EACH_WAY_MS = 100.0
SUBMITTERS = 8
"""Threads that submit lone seeds where a round trip takes time, as many apps would."""

SLOW_S = 45.0
"""Seconds after which a job on a slow store has shown what memory it takes, and is cancelled."""

MILLION = 1_000_000


def port_of(url: str) -> int:
    """Return the port of a server's address."""
    return int(url.removesuffix("/0").rpartition(":")[2])


def round_trips(world: World, spec: ModelSpec, seeds: Sequence[int], repeats: int) -> dict[str, Any]:
    """Compare worker and client behind a proxy that adds 2 ms to each round trip to Redis with one that adds none."""
    speeds: dict[str, list[float]] = {}
    proxy_ms: list[float] = []
    for _ in range(repeats):
        for name, each_way_ms in (("without", 0.0), ("with", EACH_WAY_MS)):
            for mode, spent in behind_proxy(world, spec, seeds, each_way_ms).items():
                speeds.setdefault(f"{mode}_{name}", []).append(len(seeds) / spent.wall_s)
                proxy_ms.append(spent.cpu_s["proxy"] / len(seeds) * 1000)
    speed = {name: median(values) for name, values in speeds.items()}
    losses = {f"{mode}_loss": 1 - speed[f"{mode}_with"] / speed[f"{mode}_without"] for mode in ("range", "lone")}
    figures = {f"{name}_seeds_per_s": value for name, value in speed.items()}
    return {"added_ms": 2 * EACH_WAY_MS, **figures, **losses, "proxy_cpu_ms": median(proxy_ms)}


def behind_proxy(world: World, spec: ModelSpec, seeds: Sequence[int], each_way_ms: float) -> dict[str, Spent]:
    """Measure one range and lone seeds with a proxy before Redis."""
    with ExitStack() as stack:
        port, process = stack.enter_context(delayed(port_of(world.endpoints.redis_url), each_way_ms, world.folder))
        system = stack.enter_context(Seedmill(world, spec, url=f"redis://127.0.0.1:{port}/0"))
        call = system.modes()["range"]
        call(seeds[:32])
        found = {}
        for mode, way in {"range": call, "lone": lone_jobs(system.client)}.items():
            system.forget()
            found[mode] = meter(partial(way, seeds), {"proxy": [process.pid]})
        return found


def lone_jobs(client: Client) -> Callable[[Sequence[int]], None]:
    """Return what submits a job for each seed from several threads, and waits for all."""

    def call(seeds: Sequence[int]) -> None:
        with ThreadPoolExecutor(SUBMITTERS) as pool:
            jobs = list(pool.map(client.submit, seeds))
        for job in jobs:
            job.wait(DONE_S)

    return call


def memory(world: World, spec: ModelSpec, count: int, slow_s: float = SLOW_S) -> dict[str, Any]:
    """Return the most memory that a worker takes while the store is fast, and while each answer takes longer."""
    figures: dict[str, Any] = {"seeds": count, "store_added_ms": 2 * STORE_EACH_WAY_MS}
    for name, each_way_ms, limit_s in (("fast", 0.0, DONE_S), ("slow", STORE_EACH_WAY_MS, slow_s)):
        with ExitStack() as stack:
            port, _ = stack.enter_context(delayed(port_of(world.endpoints.s3_url), each_way_ms, world.folder))
            system = stack.enter_context(Seedmill(world, spec, s3_url=f"http://127.0.0.1:{port}"))
            found = peaks(system, count, limit_s)
        figures.update({f"{name}_{key}": value for key, value in found.items()})
    return figures


def peaks(system: Seedmill, count: int, limit_s: float) -> dict[str, float]:
    """Return a worker's peak after its first seed and after a job, and how much of that was done in the time."""
    system.forget()
    system.lone(FIRST_SEED)
    system.forget()
    start_mb = peak_mb(system.pids)
    job = system.client.submit(range(FIRST_SEED, FIRST_SEED + count))
    deadline = time.monotonic() + limit_s
    while not job.refresh().status.is_terminal and time.monotonic() < deadline:
        time.sleep(0.2)
    done = job.counts.done
    job.cancel()
    return {"start_mb": start_mb, "peak_mb": peak_mb(system.pids), "done": done}


def million(world: World) -> dict[str, Any]:
    """Submit a million seeds to a database without workers, and poll."""
    url = world.endpoints.redis_url.removesuffix("/0") + "/5"
    redis: Any = connect(url)
    with Client(url) as client:
        client.queue()  # connected
        before = redis.info("memory")["used_memory"]
        submit_s = timed(lambda: client.submit(range(MILLION), job_id="big"))
        used = redis.info("memory")["used_memory"] - before
        polls = [timed(lambda: client.get("big")) * 1000 for _ in range(200)]
    redis.flushdb()
    redis.close()
    return {"submit_s": submit_s, "poll_p50_ms": median(polls), "redis_mb": used / 1e6}


def imports() -> Mapping[str, float]:
    """Return the milliseconds that an app spends on importing the producing side."""
    return {
        "import_producer_ms": import_ms("import producer"),
        "import_client_ms": import_ms("from producer import Client"),
    }


def import_ms(statement: str) -> float:
    """Return the least of five times that a fresh interpreter needs for a statement, less that for none."""

    def least(code: str) -> float:
        return min(timed(lambda: subprocess.run([sys.executable, "-c", code], check=True)) for _ in range(5)) * 1000

    return least(statement) - least("pass")
