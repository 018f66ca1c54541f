"""What 1, 8 and 1,000 GPUs need: ``python -m tests.benchmarks.capacity``; ``make bench-capacity`` runs it.

``--measure`` takes what each call to Redis costs, and points that the simulation is held to; ``--simulate`` fits,
reproduces and predicts from the files in ``results/``. Either alone goes on with what the other has written. Writes
``results/capacity.json`` and ``deploy/CAPACITY.md``; a quick run writes only what ``--out`` names.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.capacity import calls, check, points, predict, report
from tests.benchmarks.capacity.costs import Files, fitted, told
from tests.benchmarks.capacity.points import POINTS, REFERENCE
from tests.benchmarks.devices import ModelSpec, write_bank
from tests.benchmarks.measure import machine
from tests.benchmarks.report import write_json
from tests.benchmarks.systems.base import World
from tests.support import ROOT
from worker.local.stack import ending_on_signals, running_stack
from worker.machine import usable_cores
from worker.model.engine import Engine

CROWDS = (1, 32, 256, 1000)
"""Workers that live on one Redis while its costs are measured."""

console = Console(width=190)


def measure(*, quick: bool) -> dict[str, Any]:
    """Measure Redis alone, then the points on a whole stack."""
    started, rounds = time.monotonic(), 1 if quick else 3

    def say(what: str) -> None:
        console.print(f"{time.monotonic() - started:4.0f} s  {what}", style="dim", markup=False)

    say("what Redis takes")
    redis = calls.measure(rounds, CROWDS[:2] if quick else CROWDS)
    chosen = (REFERENCE, *(POINTS[:1] if quick else POINTS))
    with ending_on_signals(), tempfile.TemporaryDirectory() as name, running_stack(Path(name) / "stack") as stack:
        stack.start_servers()
        world = World(stack, Path(name), usable_cores())
        spec = ModelSpec("fast", str(world.folder / "fast"))
        write_bank(Path(spec.folder), Engine(*ModelSpec("demo", str(ROOT / "checkpoints")).files, device="cpu"))
        return {
            "machine": machine(),
            "quick": quick,
            "redis": redis,
            "points": points.measure(world, spec, chosen, rounds, say),
        }


def simulate(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures with all that the simulation says."""
    files = Files.load(own)
    numbers = check.told(files, fitted(files))
    costs = told(files, numbers)
    rows = {"reproduced": check.reproduced(files, costs), "held_out": check.held_out(files, costs, own["points"][1:])}
    measured = {name: own[name] for name in ("machine", "quick", "redis", "points")}
    return {
        **measured,
        "told": numbers,
        **rows,
        "errors": {name: check.errors(some) for name, some in rows.items()},
        **predict.predicted(files, costs),
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure alone (ten minutes, of a quiet machine)")
    parser.add_argument("--simulate", action="store_true", help="simulate alone, from what was measured (a minute)")
    parser.add_argument("--quick", action="store_true", help="measure little: its figures say nothing")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of the whole run alone is written")
    options = parser.parse_args()
    if not (options.measure or options.simulate):
        options.measure = options.simulate = True
    if options.out is None and not options.quick:
        options.out = report.RESULTS
    return options


def main() -> None:
    """Measure, simulate, print and write."""
    options = arguments()
    if options.measure:
        results = measure(quick=options.quick)
        if options.out:  # a simulation that fails does not lose them
            write_json(results, options.out)
    else:
        results = json.loads((options.out or report.RESULTS).read_text(encoding="utf-8"))
    if options.simulate:
        results = simulate(results)
        for name, part in report.PARTS.items():
            console.print(f"\n{name}\n\n{part(results)}", markup=False)
        if options.out:
            write_json(results, options.out)
        if options.out and options.out.resolve() == report.RESULTS:
            report.write(results)


if __name__ == "__main__":
    main()
