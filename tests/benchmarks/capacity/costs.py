"""What the simulation of capacity is told, all of it read from files that benchmarks wrote.

CPU time of worker, store and client is that of ``make bench`` with the stand-in for a fast device; of Redis, that of
each script; the device is the GPU of ``make bench-gpu``. Three numbers are fitted, each to one point: how much of a
seed's CPU time in a worker holds the interpreter, to the speed of one worker on the GPU with a range; how much of an
object's CPU time in the embedded store is one object after the other, to two workers there with a range; and what a
lone message waits in a worker beside all CPU time, to a lone seed on the stand-in.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from producer.contract import DEFAULT_CHUNK_SIZE
from tests.benchmarks.capacity import runs
from tests.benchmarks.capacity.world import Costs, Device, RedisCosts, Setup
from tests.benchmarks.devices import CALL_MS, SEED_MS
from tests.benchmarks.report import RESULTS as BENCH
from worker.duties import CANCEL_S

RESULTS = BENCH.parent
CHUNK, MAX_BATCH = DEFAULT_CHUNK_SIZE, 1024
STAND_IN = Device(((0, CALL_MS), (MAX_BATCH, CALL_MS + SEED_MS * MAX_BATCH)))

FITTING_STEPS = 10

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Files:
    """What was measured: ``bench``, ``gpu``, ``store`` and ``tenants`` by others, ``own`` by ``capacity --measure``."""

    bench: Json
    gpu: Json
    store: Json
    tenants: Json
    own: Json

    @classmethod
    def load(cls, own: Json, folder: Path = RESULTS) -> Files:
        """Read them."""

        def read(name: str) -> Json:
            found: Json = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            return found

        return cls(read("throughput"), read("gpu"), read("storage"), read("tenants"), own)

    @property
    def fast(self) -> Json:
        """The figures of seedmill with the stand-in."""
        return dict(self.bench["models"]["fast"]["systems"])

    @property
    def reference(self) -> Json:
        """The point that says how fast the machine was on the day of the other points."""
        return dict(self.own["points"][0])


def redis_costs(measured: Json) -> RedisCosts:
    """Return what Redis takes, from the figures of its scripts."""
    rows = measured["calls"]
    take = _fit([(1, row["messages"], row["seeds"]) for row in rows if row["call"] == "take"], _cpu(rows, "take"))
    chunks = [row for row in rows if row["load"] != "lone"]
    sizes = [(1, row["seeds"]) for row in chunks if row["call"] == "start"]
    start, finish = (_fit(sizes, _cpu(chunks, call)) for call in ("start", "finish"))
    lone = {row["call"]: row["cpu_us"] for row in reversed(rows) if row["load"] == "lone"}
    living = measured["living"]
    crowds = [(1, row["workers"]) for row in living if row["call"] == "sweep"]
    (beat,), sweep = _fit([(1,)] * len(crowds), _cpu(living, "beat")), _fit(crowds, _cpu(living, "sweep"))
    looks = measured["looks"]["canceled_cpu_us"] / CANCEL_S + measured["looks"]["manifest_cpu_us"]
    base = {"submit": lone["submit"], "finish lone": lone["finish"], "poll": lone["poll"]}
    base |= {"take": take[0], "start": start[0], "finish": finish[0], "wake": measured["waiting"][-1]["wake_cpu_us"]}
    return RedisCosts(
        base_ms=_milli(base),
        message_ms=_milli({"take": take[1]}),
        seed_ms=_milli({"take": take[2], "start": start[1], "finish": finish[1]}),
        beat_ms=(beat + looks) / 1000,
        sweep_ms=sweep[0] / 1000,
        sweep_each_ms=sweep[1] / 1000,
    )


def _cpu(rows: Sequence[Json], call: str) -> list[float]:
    return [float(row["cpu_us"]) for row in rows if row["call"] == call]


def _milli(micro: Mapping[str, float]) -> dict[str, float]:
    return {name: value / 1000 for name, value in micro.items()}


def _fit(terms: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Return the coefficients that fit best, relative to each value, and none below zero."""
    weights = 1 / np.asarray(values)
    matrix = np.asarray(terms, dtype=float) * weights[:, None]
    found: list[float] = np.linalg.lstsq(matrix, np.ones(len(values)), rcond=None)[0].tolist()
    return [max(0.0, value) for value in found]


def unfitted(files: Files) -> Costs:
    """Return what everything takes before anything is fitted: no CPU time of a seed holds the interpreter."""
    lone, whole = files.fast["seedmill lone"], files.fast["seedmill range"]
    message = (lone["worker_cpu_ms"] - whole["worker_cpu_ms"]) / (1 - 1 / CHUNK)
    poll = files.bench["million"]["poll_p50_ms"]
    store = whole["s3_cpu_ms"] / 2
    sent = {row["call"]: row["ours"]["cpu_ms"] for row in files.store["rows"] if row["threads"] == 1}
    return Costs(
        redis=redis_costs(files.own["redis"]),
        message_ms=message,
        python_ms=0.0,
        native_ms=whole["worker_cpu_ms"] - message / CHUNK,
        submit_ms=max(0.0, lone["client_cpu_ms"] - poll),
        poll_ms=poll,
        store_cpu_ms=store,
        put_image_ms=max(0.0, files.reference["put_image_ms"] - store - sent["put 55 KB"]),
        put_metadata_ms=max(0.0, files.reference["put_metadata_ms"] - store - sent["put 1 KB"]),
    )


FITTED = ("python_ms", "native_ms", "store_turn", "idle_ms")


def told(files: Files, numbers: Mapping[str, float]) -> Costs:
    """Return what everything takes, with numbers that were fitted before."""
    found: dict[str, Any] = {name: numbers[name] for name in FITTED}
    return dataclasses.replace(unfitted(files), **found)


def fitted(files: Files) -> Costs:
    """Return what everything takes."""
    costs = unfitted(files)
    measured = files.gpu["models"]["demo"]
    seeds, systems = measured["seeds"], measured["systems"]

    def held(part: float) -> Costs:
        return dataclasses.replace(costs, python_ms=part * costs.native_ms, native_ms=(1 - part) * costs.native_ms)

    def one(part: float) -> float:
        return runs.one_range(gpu(files, held(part), "demo fp32"), seeds).seeds_per_s

    costs = held(_meet(one, systems["seedmill range"]["seeds_per_s"]))

    def turned(part: float) -> Costs:
        return dataclasses.replace(costs, store_turn=part)

    def two(part: float) -> float:
        return runs.one_range(gpu(files, turned(part), "demo fp32", workers=2), seeds).seeds_per_s

    costs = turned(_meet(two, systems["seedmill-two range"]["seeds_per_s"]))
    missing = files.fast["seedmill lone"]["lone_p50_ms"] - runs.lone_seeds(stand_in(files, costs), 20).wait_ms()
    return dataclasses.replace(costs, idle_ms=max(0.0, missing))


def _meet(speed: Callable[[float], float], wanted: float) -> float:
    """Return the part, from 0 to 1, with which the speed is what it should be; it falls as the part grows."""
    low, high = 0.0, 1.0
    for _ in range(FITTING_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if speed(middle) < wanted else (middle, high)
    return (low + high) / 2


def scaled(costs: Costs, factor: float) -> Costs:
    """Return the costs on a machine whose cores take so many times as long."""

    def longer(table: Mapping[str, float]) -> dict[str, float]:
        return {call: value * factor for call, value in table.items()}

    old = costs.redis
    living = (factor * ms for ms in (old.beat_ms, old.sweep_ms, old.sweep_each_ms))
    redis = RedisCosts(longer(old.base_ms), longer(old.message_ms), longer(old.seed_ms), *living)
    names = ("message_ms", "python_ms", "native_ms", "submit_ms", "poll_ms", "store_cpu_ms")
    own = {name: getattr(costs, name) * factor for name in names}
    return dataclasses.replace(costs, redis=redis, **own)


def today(files: Files) -> float:
    """Return how many times as long the cores took on the day of the points as on that of the benchmark."""
    kinds = ("worker_cpu_ms", "valkey_cpu_ms", "s3_cpu_ms", "client_cpu_ms")
    then = files.fast["seedmill range"]
    return float(sum(files.reference[kind] for kind in kinds) / sum(then[kind] for kind in kinds))


def gpu_host(files: Files) -> float:
    """Return how many times as long the cores beside the GPU take, by the CPU time of a worker that polls the GPU."""
    there = files.gpu["models"]["demo"]["systems"]["seedmill range"]["worker_cpu_ms"]
    polled = gpu_device(files, "demo fp32").batch_ms(CHUNK) / CHUNK
    return float((there - polled) / files.fast["seedmill range"]["worker_cpu_ms"])


def stand_in(files: Files, costs: Costs, workers: int = 1) -> Setup:
    """Return the benchmark's machine with the stand-in for a fast device, which all its workers share."""
    cores = files.bench["machine"]["cores"]
    return Setup(costs, STAND_IN, workers=workers, cores=cores, is_one_host=True)


def on_cpu(files: Files, costs: Costs, model: str, workers: int = 1) -> Setup:
    """Return the benchmark's machine with a model on its cores, of which each worker has its part.

    What the model takes is the CPU time of a seed, less that which a seed takes on the stand-in.
    """
    systems = files.bench["models"][model]["systems"]
    decode = systems["seedmill range"]["worker_cpu_ms"] - files.fast["seedmill range"]["worker_cpu_ms"]
    cores = files.bench["machine"]["cores"]
    device = Device(decode_ms=decode, threads=max(1, cores // workers), is_shared=False)
    return Setup(costs, device, workers=workers, cores=cores, is_one_host=True)


def gpu_device(files: Files, model: str) -> Device:
    """Return the GPU that was measured, with a model."""
    alone = files.gpu["alone"][model]["ms"]
    return Device(tuple((int(batch), float(ms)) for batch, ms in alone.items()), is_polled=True)


def gpu(files: Files, costs: Costs, model: str, workers: int = 1) -> Setup:
    """Return the machine of the GPU, which Redis, the store and the clients shared."""
    cores = files.gpu["machine"]["cores"]
    store = files.gpu["models"]["demo"]["systems"]["seedmill range"]["s3_cpu_ms"] / 2
    costs = dataclasses.replace(scaled(costs, gpu_host(files)), store_cpu_ms=store)
    return Setup(costs, gpu_device(files, model), workers=workers, cores=cores, is_one_host=True)
