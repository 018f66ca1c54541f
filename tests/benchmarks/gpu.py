"""How fast on an NVIDIA GPU: ``python -m tests.benchmarks.gpu``; ``make bench-gpu`` runs it.

The models alone in batches of several sizes, whose bits must be the same, and the systems of ``make bench`` with their
models on the one GPU. Prints tables and writes ``results/gpu.json`` and the README's tables; of a quick run, or on a
CPU, only what ``--out`` names.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from tests.benchmarks import gpu_report, report
from tests.benchmarks.compare import FIRST_SEED, Size
from tests.benchmarks.devices import ModelSpec
from tests.benchmarks.measure import machine, meter
from tests.benchmarks.systems.base import World
from tests.benchmarks.throughput import Run
from worker.local.stack import ending_on_signals, running_stack
from worker.machine import usable_cores
from worker.model.engine import Engine
from worker.model.generated import Generated
from worker.model.loaded import Precision

SIZES = {
    "demo": Size(seeds=1024, lone=40, rounds=3, trial=0, warm=128),
    "large": Size(seeds=512, lone=20, rounds=3, trial=0, warm=128),
}
QUICK = {name: Size(seeds=16, lone=2, rounds=1, trial=0, warm=2) for name in SIZES}
SYSTEMS = {
    "demo": ("loop", "celery", "celery-batches", "seedmill", "seedmill-two"),
    "large": ("loop", "seedmill"),
}
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
BATCHES = (1, 8, 32, 64, 256)
REPEATS = 5

console = Console(width=190)


def alone(spec: ModelSpec, precision: Precision, batches: Sequence[int], repeats: int) -> dict[str, Any]:
    """Measure one model alone; raises AssertionError if a seed's bits depend on the batch."""
    engine = Engine(*spec.files, device=spec.device, precision=precision)
    engine.self_check()
    before = engine.memory_used()
    figures: dict[str, Any] = {"model_id": engine.info.id, "ms": {}, "cpu_ms": {}}
    wanted: list[Generated] = []
    for batch in batches:
        seeds = range(FIRST_SEED, FIRST_SEED + batch)
        latents = engine.draw(seeds)
        made = engine.generate(seeds, latents)  # warm
        assert all(map(same, made, wanted)), f"seeds in a batch of {batch} have other bits"
        wanted = made
        walls, cpus = [], []
        for _ in range(repeats):
            spent = meter(lambda: engine.generate(seeds, latents), {})  # noqa: B023  # called at once
            walls.append(spent.wall_s * 1000)
            cpus.append(spent.cpu_s["client"] * 1000)
        figures["ms"][str(batch)] = round(statistics.median(walls), 3)
        figures["cpu_ms"][str(batch)] = round(statistics.median(cpus), 3)
    figures["memory_mb"] = round(max(before, engine.memory_used()) / 1e6)
    return figures


def same(first: Generated, second: Generated) -> bool:
    """Return whether two results have the same bits."""
    return first.caption == second.caption and np.array_equal(first.pixels, second.pixels)


def driver() -> str:
    """Return the version of the GPU's driver."""
    argv = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    except FileNotFoundError:
        return "none"


def card(device: str) -> dict[str, str]:
    """Return what the figures depend on beside the machine."""
    if device == "cpu":
        return {"name": "none", "driver": driver()}
    return {
        "name": torch.cuda.get_device_name(device),
        "driver": driver(),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def measure(run: Run, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what is measured each time that more is."""
    found: dict[str, Any] = {"machine": machine(), "card": card(run.device), "quick": options.quick}
    found |= {"alone": {}, "models": {}}
    for model, precision in product(SIZES, PRECISIONS) if "alone" in options.only else ():
        run.say(f"{model} {precision} alone")
        batches, repeats = (BATCHES[:2], 1) if options.quick else (BATCHES, REPEATS)
        found["alone"][f"{model} {precision}"] = alone(run.spec(model), precision, batches, repeats)
        gc.collect()
        torch.cuda.empty_cache()
        yield found
    for model in [name for name in SIZES if name in options.only]:
        run.options = argparse.Namespace(systems=[name for name in SYSTEMS[model] if name in options.systems])
        for measured in run.compare(model):
            found["models"][model] = measured
            yield found


def arguments() -> argparse.Namespace:
    """Read the command line."""

    def names(text: str) -> list[str]:
        return text.split(",")

    parts = ["alone", *SIZES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, and figures that say little")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try it")
    parser.add_argument("--only", type=names, default=parts, help=f"of {','.join(parts)}")
    parser.add_argument("--systems", type=names, default=list(SYSTEMS["demo"]), help=f"of {','.join(SYSTEMS['demo'])}")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of a whole run on a GPU is written")
    options = parser.parse_args()
    for chosen, known in ((options.only, parts), (options.systems, SYSTEMS["demo"])):
        if unknown := set(chosen) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    if options.out is None and parser.parse_args(["--device", options.device]) == options and options.device != "cpu":
        options.out = gpu_report.RESULTS
    return options


def main() -> None:
    """Measure, print and write, also what a run that is broken off has by then; fails if a figure is void."""
    options = arguments()
    results: dict[str, Any] = {}
    with ending_on_signals(), tempfile.TemporaryDirectory() as name, running_stack(Path(name) / "stack") as stack:
        stack.start_servers()
        run = Run(World(stack, Path(name), usable_cores()), options, options.device)
        run.sizes = QUICK if options.quick else SIZES
        for results in measure(run, options):
            if options.out:
                report.write_json(results, options.out)
    console.print(gpu_report.markdown(results), markup=False)
    report.keep(results, options.out, gpu_report.RESULTS, gpu_report.put_into)
    if void := [line for measured in results["models"].values() for line in measured["void"]]:
        sys.exit("\n".join(void))


if __name__ == "__main__":
    main()
