"""What 1, 8 and 1,000 GPUs need, and what changes if one thing is otherwise, as simulated."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from producer.records import TOMBSTONE_S
from producer.settings import ProducerSettings
from tests.benchmarks.capacity import runs
from tests.benchmarks.capacity.costs import CHUNK, Files, gpu_device, gpu_host, scaled
from tests.benchmarks.capacity.world import Costs, Setup
from worker.duties import BEAT_S, SWEEP_S
from worker.settings import WorkerSettings

MODELS = ("demo fp32", "large bf16")
RTT_MS, PUT_MS = 0.5, 20.0
"""Assumed: a round trip to Redis, and what an object takes in the store, both in the same region."""

UPLOADS, MOST_WORKERS, GPUS = 32, 8, 1000
NEARLY = 0.95
MOST_BUSY = 0.6
"""Part of the time that one Redis should be at work at most: the rest is for clients, and for those who die."""

CROWDS = (8, 12, 16, 24, 32, 64, 128)
"""GPUs on one Redis that are tried."""

GRAINS = ((32, 4), (max(CROWDS), 8))
"""Seeds that are moved together in a crowd of up to so many: more is quicker, and makes uploads slower than they are,
which is why a crowd is compared with a GPU alone that is simulated as coarsely."""

ROUNDS_MS = 4.0
"""What Redis takes for all that a worker has in hand, a few times: before that has passed for each worker, where Redis
is the limit, all of them are still at their first chunks together."""

LEAST_TTL_S = 3600
DEFAULT_UPLOADS = int(WorkerSettings.model_fields["upload_threads"].default)
DEFAULT_TTL_S = int(ProducerSettings.model_fields["result_ttl_s"].default)
PARTITION_PUTS_PER_S = 3500
"""Writes a second that AWS promises of each partition of a bucket:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html"""

DAY_S = 86_400


@dataclass(frozen=True)
class Fleet:
    """GPUs with a model, and how their workers are set."""

    model: str
    gpus: int = 1
    workers: int = 1
    uploads: int = UPLOADS


class Forecast:
    """The simulation on hosts like that of the GPU which was measured, Redis and store elsewhere."""

    def __init__(self, files: Files, costs: Costs) -> None:
        self._files = files
        self._costs = dataclasses.replace(
            scaled(costs, gpu_host(files)),
            redis=costs.redis,
            store_cpu_ms=0.0,
            put_image_ms=PUT_MS,
            put_metadata_ms=PUT_MS,
        )

    def setup(self, fleet: Fleet, grain: int = 1) -> Setup:
        """Return the setup of GPUs."""
        return Setup(
            self._costs,
            gpu_device(self._files, fleet.model),
            devices=fleet.gpus,
            workers=fleet.workers,
            cores=self._files.gpu["machine"]["cores"],
            uploads=fleet.uploads,
            rtt_ms=RTT_MS,
            grain=grain,
        )

    def run(self, fleet: Fleet, grain: int = 1) -> runs.Run:
        """Watch GPUs at work; many of them for a shorter time, but for rounds enough of all at a busy Redis."""
        rounds = ROUNDS_MS * fleet.gpus * fleet.workers
        watched = max(500.0, 2000.0 / fleet.gpus, 4 * rounds)
        return runs.endless(self.setup(fleet, grain), warm_ms=max(600.0, rounds), watched_ms=watched)

    def tuned(self, model: str) -> Fleet:
        """Return how many workers a GPU needs to be as busy as it can be."""
        speeds = {n: self.run(Fleet(model, workers=n)).seeds_per_s for n in range(1, MOST_WORKERS + 1)}
        enough = next(n for n, speed in speeds.items() if speed >= NEARLY * max(speeds.values()))
        return Fleet(model, workers=enough)

    def crowds(self, fleet: Fleet) -> list[dict[str, Any]]:
        """Return how more and more GPUs fare on one Redis."""
        alone = {grain: self.run(fleet, grain).seeds_per_s for _, grain in GRAINS}
        found = []
        for gpus in CROWDS:
            grain = next(grain for most, grain in GRAINS if gpus <= most)
            run = self.run(dataclasses.replace(fleet, gpus=gpus), grain)
            found.append(
                {
                    "model": fleet.model,
                    "gpus": gpus,
                    "workers": gpus * fleet.workers,
                    "seeds_per_s": round(run.seeds_per_s),
                    "of_linear": round(run.seeds_per_s / gpus / alone[grain], 3),
                    "redis_busy": round(run.shares["Redis"], 3),
                    "heartbeats": round(self.heartbeats(gpus * fleet.workers), 3),
                }
            )
        return found

    def heartbeats(self, workers: int) -> float:
        """Return the part of the time that one Redis spends on the heartbeats of so many workers."""
        redis = self._costs.redis
        sweep = redis.sweep_ms + redis.sweep_each_ms * workers
        return together(redis.beat_ms, sweep, workers) / 1000

    def needs(self, part: Fleet, gpus: int) -> dict[str, Any]:
        """Return what so many GPUs need, of which each Redis has a part; that part is simulated."""
        run, times = self.run(part), gpus / part.gpus
        speed = run.seeds_per_s * times
        wire = Wire.of(self._files.own["redis"], part.gpus * part.workers)
        chunks = speed / CHUNK
        point = self._files.reference
        memory = speed * wire.seed_memory_bytes / 1e9
        return {
            "model": part.model,
            "gpus": gpus,
            "workers": part.workers,
            "uploads": part.uploads,
            "redis_servers": math.ceil(times),
            "seeds_per_s": round(speed),
            "redis_calls_per_s": round(run.redis_calls_per_s * times),
            "redis_cores": round(run.shares["Redis"] * times, 3),
            "redis_mb_per_s": round((chunks * wire.chunk_bytes + times * wire.beats_bytes_per_s) / 1e6, 2),
            "aof_mb_per_s": round(chunks * wire.chunk_aof_bytes / 1e6, 2),
            "redis_gb_least": round(memory * (LEAST_TTL_S + TOMBSTONE_S), 1),
            "redis_gb_default": round(memory * (DEFAULT_TTL_S + TOMBSTONE_S), 1),
            "puts_per_s": round(2 * speed),
            "puts_per_day": round(2 * speed * DAY_S),
            "partitions": math.ceil(2 * speed / PARTITION_PUTS_PER_S),
            "store_mb_per_s": round(speed * (point["image_bytes"] + point["metadata_bytes"]) / 1e6, 1),
            "cores_per_gpu": round(run.cores_used, 1),
            "bottleneck": run.bottleneck,
            "shares": {name: round(min(1.0, share), 3) for name, share in run.shares.items()},
        }


@dataclass(frozen=True)
class Wire:
    """Bytes of a chunk of 32 on the wire and in the append-only file, of a seed in memory, and of all heartbeats."""

    chunk_bytes: float
    chunk_aof_bytes: float
    seed_memory_bytes: float
    beats_bytes_per_s: float

    @classmethod
    def of(cls, measured: Mapping[str, Any], workers: int) -> Wire:
        """Return them for one Redis with so many workers."""
        rows = [one for one in measured["calls"] if one["load"] == f"chunks of {CHUNK}"]
        rows = [one for one in rows if one["call"] in ("take", "start", "finish")]
        beats, sweeps = ([row for row in measured["living"] if row["call"] == call] for call in ("beat", "sweep"))
        beat = float(np.mean([row["in_bytes"] + row["out_bytes"] for row in beats]))
        sizes = [row["in_bytes"] + row["out_bytes"] for row in sweeps]
        each, base = np.polyfit([row["workers"] for row in sweeps], sizes, 1)
        sweep = float(max(0.0, base) + each * workers)
        return cls(
            chunk_bytes=sum(one["in_bytes"] + one["out_bytes"] for one in rows),
            chunk_aof_bytes=sum(one["aof_bytes"] for one in rows),
            seed_memory_bytes=sum(one["memory_bytes"] for one in rows) / CHUNK,
            beats_bytes_per_s=together(beat, sweep, workers),
        )


def together(beat: float, sweep: float, workers: int) -> float:
    """Return what so many workers take a second of which each heartbeat takes ``beat`` and a look after all ``sweep``.

    That is done with the first heartbeat, whosever it is, that comes SWEEP_S after the last look.
    """
    return (beat + sweep / math.ceil(SWEEP_S / BEAT_S * workers)) * workers / BEAT_S


def predicted(files: Files, costs: Costs) -> dict[str, Any]:
    """Return what 1, 8 and 1,000 GPUs need, how many GPUs one Redis carries, and what depends on what."""
    forecast = Forecast(files, costs)
    needs: list[dict[str, Any]] = []
    crowds: list[dict[str, Any]] = []
    for model in MODELS:
        tuned = forecast.tuned(model)
        tried = forecast.crowds(tuned)
        part = dataclasses.replace(tuned, gpus=GPUS // math.ceil(GPUS / _most(tried)))
        needs += [forecast.needs(Fleet(model, uploads=DEFAULT_UPLOADS), 1), forecast.needs(tuned, 1)]
        needs += [forecast.needs(dataclasses.replace(tuned, gpus=8), 8), forecast.needs(part, GPUS)]
        crowds += tried
    return {"needs": needs, "crowds": crowds, "sensitivity": list(sensitivity(forecast))}


def _most(crowds: Sequence[Mapping[str, Any]]) -> int:
    """Return the most GPUs that one Redis carries with time to spare."""
    return max(int(one["gpus"]) for one in crowds if one["redis_busy"] <= MOST_BUSY and one["of_linear"] >= NEARLY)


def sensitivity(forecast: Forecast) -> Iterator[dict[str, Any]]:
    """Yield what one GPU does if one thing is otherwise."""
    tuned = forecast.tuned(MODELS[0])
    base = forecast.setup(tuned)

    def say(what: str, setup: Setup, chunk: int = CHUNK) -> dict[str, Any]:
        run = runs.endless(setup, warm_ms=1000.0, watched_ms=1500.0, chunk=chunk)
        busy = 1000 * run.shares["Redis"] / run.seeds_per_s
        facts = {"seeds_per_s": round(run.seeds_per_s), "redis_us_per_seed": round(1000 * busy, 1)}
        return {"what": what, **facts, "cores": round(run.cores_used, 1), "bottleneck": run.bottleneck}

    yield say(f"{tuned.workers} workers, {UPLOADS} uploads each", base)
    for workers in (1, 2):
        yield say(f"{workers} worker{'s' * (workers > 1)}", dataclasses.replace(base, workers=workers))
    for uploads in (DEFAULT_UPLOADS, 128):
        yield say(f"{uploads} uploads", dataclasses.replace(base, uploads=uploads))
    for rtt in (5.0, 50.0):
        yield say(f"Redis {rtt:g} ms away", dataclasses.replace(base, rtt_ms=rtt))
    for put in (5.0, 100.0):
        slow = dataclasses.replace(base.costs, put_image_ms=put, put_metadata_ms=put)
        yield say(f"{put:g} ms an object", dataclasses.replace(base, costs=slow))
    for chunk in (8, 128):
        yield say(f"chunks of {chunk}", base, chunk)
    for side, times in ((512, 4), (1024, 16)):
        larger = dataclasses.replace(base.costs, native_ms=times * base.costs.native_ms)
        yield say(f"pictures of {side}x{side}, as quick to compute", dataclasses.replace(base, costs=larger))
