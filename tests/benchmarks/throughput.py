"""How fast, against what people would use instead: ``python -m tests.benchmarks.throughput``; ``make bench`` runs it.

The same models, seeds, Valkey and S3 server for all systems (tests/benchmarks/systems/), in rounds, so that what the
machine does meanwhile meets all alike; ratios are those of one round. Prints tables and writes
``results/throughput.json``, ``docs/throughput.png`` and the README's table; of a part of it, or a quick run, only what
``--out`` names. CPU time is from /proc (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks import plot, probes, report
from tests.benchmarks.bucket import Bucket, Expected
from tests.benchmarks.compare import Comparison, Size
from tests.benchmarks.devices import ModelSpec, write_bank
from tests.benchmarks.measure import machine
from tests.benchmarks.systems import SYSTEMS
from tests.benchmarks.systems.base import World
from tests.benchmarks.systems.loop import NAME as LOOP
from tests.support import ROOT
from worker.local.stack import ending_on_signals, running_stack
from worker.machine import usable_cores
from worker.model.engine import Engine

SIZES = {
    "demo": Size(seeds=448, lone=40, rounds=3, trial=128, warm=32),
    "large": Size(seeds=32, lone=4, rounds=2, trial=16, warm=2),
    "fast": Size(seeds=768, lone=40, rounds=3, trial=256, warm=64),
}
QUICK = {
    "demo": Size(seeds=96, lone=6, rounds=1, trial=32, warm=8),
    "large": Size(seeds=8, lone=2, rounds=1, trial=0, warm=2),
    "fast": Size(seeds=192, lone=6, rounds=1, trial=64, warm=32),
}
PROBES = ("round_trips", "memory", "million", "imports")
SPOTS = 4
"""Seeds whose pixels are compared."""

console = Console(width=190)


class Run:
    """One run in a folder of its own, on a stack that is running."""

    def __init__(self, world: World, options: argparse.Namespace, device: str = "cpu") -> None:
        self.world = world
        self.options = options
        self.device = device
        self.bucket = Bucket(world.endpoints)
        self.sizes = QUICK if options.quick else SIZES
        self.failed: list[str] = []
        """Probes that gave no figure."""
        self._started = time.monotonic()

    def results(self) -> dict[str, Any]:
        """Measure everything that is asked for."""
        found: dict[str, Any] = {"machine": machine(), "quick": self.options.quick, "models": {}}
        for model in [name for name in self.sizes if name in self.options.only]:
            for measured in self.compare(model):
                found["models"][model] = measured
        for probe in [name for name in PROBES if name in self.options.only]:
            self.say(probe)
            try:
                found[probe] = rounded(self.probe(probe))
            except Exception as error:  # what has been measured so far is not lost for it
                console.print_exception()
                self.failed.append(f"{probe}: {error!r}")
        found["bars"] = report.bars(found)
        return found

    def compare(self, model: str) -> Iterator[dict[str, Any]]:
        """Measure one model on all systems; yields the figures after each round."""
        spec, size = self.spec(model), self.sizes[model]
        names = [name for name in (LOOP, *SYSTEMS) if name in self.options.systems]
        comparison = Comparison(self.world, self.bucket, spec, size, names, self.expected(spec, size), self.say)
        for measured in comparison.run():
            yield {**measured, "ratios": report.ratios(measured["systems"])}

    def spec(self, model: str) -> ModelSpec:
        """Return the model, its files made where they do not ship."""
        if model == "demo":
            return ModelSpec(model, str(ROOT / "checkpoints"), self.device)
        folder = self.world.folder / model
        if model == "fast" and not folder.exists():
            write_bank(folder, Engine(*self.spec("demo").files, device="cpu"))
        elif not folder.exists():
            argv = [sys.executable, "-m", "worker", "checkpoint", "init", "--preset", "large", "--out", str(folder)]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        return ModelSpec(model, str(folder), self.device)

    def expected(self, spec: ModelSpec, size: Size) -> Expected:
        """Return the pixels of some seeds, made here."""
        seeds = size.range[:: max(1, size.seeds // SPOTS)]
        return {generated.seed: generated.pixels for generated in spec.load().generate(seeds)}

    def probe(self, name: str) -> Any:
        """Measure one thing of seedmill alone."""
        quick = self.options.quick
        if name == "round_trips":
            seeds = range(probes.FIRST_SEED, probes.FIRST_SEED + (128 if quick else 512))
            return probes.round_trips(self.world, self.spec("fast"), seeds, repeats=1 if quick else 2)
        if name == "memory":
            return probes.memory(self.world, self.spec("fast"), 2000, slow_s=10.0 if quick else probes.SLOW_S)
        return probes.million(self.world) if name == "million" else probes.imports()

    def say(self, what: str) -> None:
        """Tell how far it has come."""
        console.print(f"{time.monotonic() - self._started:4.0f} s  {what}", style="dim", markup=False)


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures with three decimals."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


def arguments() -> argparse.Namespace:
    """Read the command line."""

    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: minutes, and figures that say little")
    parser.add_argument("--only", type=names, default=[*SIZES, *PROBES], help=f"of {','.join([*SIZES, *PROBES])}")
    parser.add_argument("--systems", type=names, default=[LOOP, *SYSTEMS], help=f"of {','.join([LOOP, *SYSTEMS])}")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of the whole run alone is written")
    options = parser.parse_args()
    if options.out is None and not options.quick and parser.parse_args([]) == options:
        options.out = report.RESULTS
    for chosen, known in ((options.only, [*SIZES, *PROBES]), (options.systems, [LOOP, *SYSTEMS])):
        if unknown := set(chosen) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    return options


def main() -> None:
    """Measure, print and write; fails if a figure is void."""
    options = arguments()
    with ending_on_signals(), tempfile.TemporaryDirectory() as name, running_stack(Path(name) / "stack") as stack:
        stack.start_servers()
        run = Run(World(stack, Path(name), usable_cores()), options)
        results = run.results()
    report.print_tables(results, console)
    report.keep(results, options.out, report.RESULTS, report.put_into)
    if options.out and options.out.resolve() == report.RESULTS:
        plot.draw(results)
    if any(measured["void"] for measured in results["models"].values()):
        sys.exit("some figures are void: what was made is not what it should be")
    if run.failed:
        sys.exit("; ".join(run.failed))


if __name__ == "__main__":
    main()
