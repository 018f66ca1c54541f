"""Points that the simulation of capacity is held to, and is not fitted to: workers, batches, chunks, distances.

Each is a run of real workers with the stand-in for a fast device (tests/benchmarks/devices.py), given one range or lone
seeds. What a point is given beside its settings, and the simulation is told as well, is how far servers are: of a store
behind a proxy what a lone seed's two objects took, and the CPU time of the proxies, which share the cores.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from producer import Client
from tests.benchmarks.bucket import Bucket
from tests.benchmarks.compare import PAUSES_S
from tests.benchmarks.delay import delayed
from tests.benchmarks.devices import ModelSpec
from tests.benchmarks.measure import median, meter, timed
from tests.benchmarks.probes import lone_jobs, port_of
from tests.benchmarks.systems.base import DONE_S, World
from tests.benchmarks.systems.seedmill import Seedmill
from worker.local.process import Process

FIRST_SEED = 1_000_000
SEEDS_APART = 100_000
"""Seeds from the first of one point to that of the next: none is found published already."""

LONE = 20
STAGES = ("generate_ms", "encode_ms", "put_image_ms", "put_metadata_ms")


@dataclass(frozen=True)
class Point:
    """A run: ``rtt_ms`` and ``store_each_way_ms`` are what proxies add to each round trip, and in each direction."""

    name: str
    seeds: int
    workers: int = 1
    lone: bool = False
    max_batch: int = 32
    chunk: int = 32
    upload_threads: int = 8
    rtt_ms: float = 0.0
    store_each_way_ms: float = 0.0


REFERENCE = Point("one worker, one range", 800)
"""Also measured by ``make bench``: says how fast the machine is today."""

POINTS = (
    Point("4 workers, one range", 1200, workers=4),
    Point("4 workers, lone seeds", 600, workers=4, lone=True),
    Point("batches of 2", 500, max_batch=2),
    Point("batches of 4", 800, max_batch=4),
    Point("batches of 128", 1600, max_batch=128),
    Point("chunks of 4", 800, chunk=4),
    Point("chunks of 128", 1600, chunk=128),
    Point("Redis 10 ms away, one range", 800, rtt_ms=10),
    Point("Redis 10 ms away, lone seeds", 400, rtt_ms=10, lone=True),
    Point("store far, 8 uploads", 200, store_each_way_ms=15),
    Point("store far, 32 uploads", 600, store_each_way_ms=15, upload_threads=32),
)


class Fleet(Seedmill):
    """Workers as a point wants them."""

    def __init__(self, world: World, spec: ModelSpec, point: Point, **urls: str) -> None:
        super().__init__(world, spec, **urls)
        self.workers = point.workers
        self._point = point

    def start(self) -> None:
        """Start the workers, then submit in the point's chunks."""
        super().start()
        self.client.close()
        self.client = Client(self._url, chunk_size=self._point.chunk)

    def launch(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start a worker with the point's settings."""
        own = {
            "SEEDMILL_MAX_BATCH": str(self._point.max_batch),
            "SEEDMILL_UPLOAD_THREADS": str(self._point.upload_threads),
        }
        return super().launch(name, argv, {**(environment or {}), **own})


@contextmanager
def started(world: World, spec: ModelSpec, point: Point) -> Iterator[tuple[Fleet, list[int]]]:
    """Yield the workers of a point, and the processes of the proxies between them and the servers."""
    with ExitStack() as stack:
        urls, proxies = {}, []
        if point.rtt_ms:
            one = delayed(port_of(world.endpoints.redis_url), point.rtt_ms / 2, world.folder)
            port, process = stack.enter_context(one)
            urls["url"] = f"redis://127.0.0.1:{port}/0"
            proxies.append(process.pid)
        if point.store_each_way_ms:
            one = delayed(port_of(world.endpoints.s3_url), point.store_each_way_ms, world.folder)
            port, process = stack.enter_context(one)
            urls["s3_url"] = f"http://127.0.0.1:{port}"
            proxies.append(process.pid)
        yield stack.enter_context(Fleet(world, spec, point, **urls)), proxies


def measure_point(world: World, spec: ModelSpec, point: Point, number: int) -> dict[str, Any]:
    """Measure one point; nothing else is given to its workers."""
    first, bucket = FIRST_SEED + number * SEEDS_APART, Bucket(world.endpoints)
    with started(world, spec, point) as (fleet, proxies):
        many = lone_jobs(fleet.client) if point.lone else fleet.modes()["range"]
        many(range(first, first + 64))
        sizes = stored(bucket, fleet, range(first, first + 64))
        lone = lone_seeds(fleet.client, first + 64)
        servers = {name: [one.pid] for name, one in world.stack.servers.items()}
        watched = {"worker": fleet.pids, **servers, "proxy": proxies}
        seeds = range(first + 1000, first + 1000 + point.seeds)
        spent = meter(lambda: many(seeds), watched)
        bucket.clear(fleet)  # the store takes the longer, the more it has
    cpu = {f"{name}_cpu_ms": round(value / point.seeds * 1000, 3) for name, value in spent.cpu_s.items()}
    figures = {"seeds_per_s": round(point.seeds / spent.wall_s, 1), **lone, **cpu, **sizes}
    return {**dataclasses.asdict(point), **figures, "others_cpu_share": round(spent.others_share, 3)}


def stored(bucket: Bucket, fleet: Fleet, seeds: Sequence[int]) -> dict[str, int]:
    """Return the median bytes of a picture and of its metadata."""
    pairs = [fleet.keys(seed) for seed in seeds]
    return {
        name: round(median(bucket.size(pair[place]) for pair in pairs))
        for place, name in enumerate(("image_bytes", "metadata_bytes"))
    }


def lone_seeds(client: Client, first: int) -> dict[str, float]:
    """Return what lone seeds take, one after the other: from submit to result, and by stage; medians."""
    waits, stages = [], []
    for number in range(LONE):
        time.sleep(PAUSES_S[number % len(PAUSES_S)])

        def one(seed: int = first + number) -> None:
            (result,) = client.submit(seed).wait(DONE_S).results()
            stages.append(result.timings)

        waits.append(timed(one) * 1000)
    by_stage = {stage: round(median(one[stage] for one in stages), 2) for stage in STAGES}
    return {"lone_p50_ms": round(median(waits), 2), **by_stage}


def measure(
    world: World, spec: ModelSpec, points: Sequence[Point], rounds: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure points in rounds, so that what the machine does meanwhile meets all alike; returns medians."""
    found: list[list[dict[str, Any]]] = []
    for number in range(rounds):
        found.append([])
        for place, point in enumerate(points):
            say(f"round {number + 1} of {rounds}: {point.name}")
            found[-1].append(measure_point(world, spec, point, number * len(points) + place))
    return [_median(same) for same in zip(*found, strict=True)]


def _median(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of the middle round by speed, with the speeds of all."""
    ordered = sorted(rounds, key=lambda one: float(one["seeds_per_s"]))
    return {**ordered[len(ordered) // 2], "rounds": [one["seeds_per_s"] for one in rounds]}
