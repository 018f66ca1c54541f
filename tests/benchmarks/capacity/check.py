"""The simulation beside what was measured: each point with its error.

Points of other benchmarks are *reproduced*: what the cores spend on a seed is known from them, how fast that makes
seedmill is not. Points of ``capacity --measure`` are *held out*: nothing of them is told but their settings, how far
the servers are, and what others took of the cores meanwhile.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks.capacity import runs
from tests.benchmarks.capacity.costs import FITTED, Files, gpu, gpu_host, on_cpu, scaled, stand_in, today
from tests.benchmarks.capacity.world import Costs, Setup
from tests.benchmarks.measure import median
from tests.benchmarks.probes import SUBMITTERS
from tests.benchmarks.report import MODELS

SPEED, WAIT = "seeds/s", "lone seed p50, ms"
WORKERS = {"seedmill": 1, "seedmill-two": 2}
WAYS = {"alone": 30, "tenants": 20, "jobs": 2}
"""Lone seeds that are simulated of each way of the benchmark of tenants."""

FITTED_POINTS = {
    ("throughput", "fast device, 1 worker", WAIT),
    ("gpu", "demo model on the GPU, 1 worker, range", SPEED),
    ("gpu", "demo model on the GPU, 2 workers, range", SPEED),
}
"""Points that numbers are fitted to."""

DISTURBED = 0.1
"""Part of the cores that others took above which a point says little."""

Row = dict[str, Any]


def row(source: str, what: str, unit: str, measured: float, simulated: float) -> Row:
    """Return a point and what the simulation says of it."""
    return {
        "source": source,
        "what": what,
        "unit": unit,
        "measured": round(measured, 2),
        "simulated": round(simulated, 2),
        "error": round(simulated / measured - 1, 3),
        "fitted": (source, what, unit) in FITTED_POINTS,
    }


def reproduced(files: Files, costs: Costs) -> list[Row]:
    """Return the points of the other benchmarks."""
    return [
        *_throughput(files, costs),
        *_round_trips(files, costs),
        *_tenants(files, costs),
        *_gpu(files, costs),
    ]


def _modes(setup: Setup, seeds: int) -> dict[str, Callable[[], runs.Run]]:
    return {
        "lone": lambda: runs.lone_jobs(setup, seeds),
        "lists": lambda: runs.lists(setup, seeds),
        "range": lambda: runs.one_range(setup, seeds),
    }


def _throughput(files: Files, costs: Costs) -> Iterator[Row]:
    for model, measured in files.bench["models"].items():
        for system, workers in WORKERS.items():
            setup = stand_in(files, costs, workers)
            if model != "fast":
                setup = on_cpu(files, costs, model, workers)
            name = f"{MODELS[model]}, {workers} worker{'s' * (workers > 1)}"
            yield from _system("throughput", name, setup, measured, system)


def _system(source: str, name: str, setup: Setup, measured: Mapping[str, Any], system: str) -> Iterator[Row]:
    """Yield what one system did with the seeds that it was given in each way."""
    for mode, call in _modes(setup, measured["seeds"]).items():
        if figures := measured["systems"].get(f"{system} {mode}"):
            yield row(source, f"{name}, {mode}", SPEED, figures["seeds_per_s"], call().seeds_per_s)
            if wait := figures.get("lone_p50_ms"):
                yield row(source, name, WAIT, wait, runs.lone_seeds(setup, 12).wait_ms())


def _round_trips(files: Files, costs: Costs) -> Iterator[Row]:
    """Yield a range and lone seeds with a proxy before Redis."""
    measured = files.bench["round_trips"]
    proxy = measured["proxy_cpu_ms"]
    setup = dataclasses.replace(stand_in(files, costs), rtt_ms=measured["added_ms"], extra_cpu_ms=proxy)
    name = f"Redis {measured['added_ms']:g} ms away"
    whole, lone = runs.one_range(setup, 512), runs.lone_jobs(setup, 512, SUBMITTERS)
    yield row("throughput", f"{name}, range", SPEED, measured["range_with_seeds_per_s"], whole.seeds_per_s)
    yield row("throughput", f"{name}, lone", SPEED, measured["lone_with_seeds_per_s"], lone.seeds_per_s)


def _tenants(files: Files, costs: Costs) -> Iterator[Row]:
    """Yield how long a tenant's lone seeds took; what the store took then is told by the speed of all."""
    setup = stand_in(files, costs)
    kinds = ("worker_cpu_ms", "valkey_cpu_ms", "s3_cpu_ms", "client_cpu_ms")
    known = sum(files.fast["seedmill range"][kind] for kind in kinds)
    for way, count in WAYS.items():
        measured = files.tenants["ways"][way]
        spent = 1000 * setup.cores / (measured["a_seeds_per_s"] + measured["b_seeds_per_s"])
        store = costs.store_cpu_ms + max(0.0, spent - known) / 2
        run = runs.beside(dataclasses.replace(setup, costs=dataclasses.replace(costs, store_cpu_ms=store)), count, way)
        yield row("tenants", f"a tenant's lone seed, {way}", WAIT, measured["lone_p50_ms"], run.wait_ms())


def _gpu(files: Files, costs: Costs) -> Iterator[Row]:
    for model, measured in files.gpu["models"].items():
        for system, workers in WORKERS.items():
            setup = gpu(files, costs, f"{model} fp32", workers)
            name = f"{MODELS[model]} on the GPU, {workers} worker{'s' * (workers > 1)}"
            yield from _system("gpu", name, setup, measured, system)


def held_out(files: Files, costs: Costs, points: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return points that were measured for this alone."""
    costs = scaled(costs, today(files))
    found = []
    for point in points:
        setup = of_point(files, costs, point)
        if point["lone"]:
            run = runs.lone_jobs(setup, point["seeds"], SUBMITTERS)
        else:
            run = runs.one_range(setup, point["seeds"], point["chunk"])
        share = {"others_cpu_share": point["others_cpu_share"]}
        found.append(row("capacity", point["name"], SPEED, point["seeds_per_s"], run.seeds_per_s) | share)
        if point["rtt_ms"] and point["lone"]:
            alone = dataclasses.replace(setup, others_share=0.0)  # who wakes up for a moment is let in at once
            wait = runs.lone_seeds(alone, 12).wait_ms()
            found.append(row("capacity", point["name"], WAIT, point["lone_p50_ms"], wait) | share)
    return found


def of_point(files: Files, costs: Costs, point: Mapping[str, Any]) -> Setup:
    """Return the setup of a measured point."""
    if point["store_each_way_ms"]:
        took = {name: max(0.0, point[name] - costs.store_cpu_ms) for name in ("put_image_ms", "put_metadata_ms")}
        costs = dataclasses.replace(costs, **took)
    return dataclasses.replace(
        stand_in(files, costs, point["workers"]),
        max_batch=point["max_batch"],
        uploads=point["upload_threads"],
        rtt_ms=point["rtt_ms"],
        extra_cpu_ms=point["proxy_cpu_ms"],
        others_share=point["others_cpu_share"],
    )


def errors(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return how far the simulation is off where nothing was fitted: of points, and of those that others disturbed."""
    found: dict[str, list[float]] = {"quiet": [], "disturbed": []}
    for one in rows:
        if not one["fitted"]:
            found["disturbed" if one.get("others_cpu_share", 0.0) > DISTURBED else "quiet"].append(abs(one["error"]))
    return {
        name: {"points": len(values), "median": round(median(values), 3), "most": max(values)}
        for name, values in found.items()
        if values
    }


def told(files: Files, costs: Costs) -> dict[str, float]:
    """Return what was fitted and what the document speaks of, and how fast the cores of the other machines are."""
    facts = {name: getattr(costs, name) for name in (*FITTED, "message_ms")}
    facts |= {name: getattr(costs.redis, name) for name in ("beat_ms", "sweep_ms", "sweep_each_ms")}
    facts |= {"cores_of_the_points": today(files), "cores_beside_the_gpu": gpu_host(files)}
    return {name: round(value, 4) for name, value in facts.items()}
