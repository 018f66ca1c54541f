"""What 1, 8 and 1,000 GPUs need: ``python -m tests.benchmarks.capacity``; ``make bench-capacity`` runs it.

``--measure`` takes what each call to Redis costs (``calls``), what workers cost it by living (``living``), and points
that the simulation is held to (``points``), or ``--only`` one of these, and keeps the others; ``--simulate`` fits,
reproduces and predicts from the files in ``results/``. Either alone goes on with what the other has written. Writes
``results/capacity.json`` and ``deploy/CAPACITY.md``; a quick run writes only what ``--out`` names.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.capacity import calls, check, living, points, predict, report
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

PARTS = ("calls", "living", "points")
CROWDS = (1, 32, 256, 1000)
"""Workers that live on one Redis while its costs are measured."""

console = Console(width=190)


def measure(parts: Collection[str], kept: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """Measure Redis alone, then the points on a whole stack, or what of these is asked for; the rest is kept."""
    started, rounds, here = time.monotonic(), 1 if quick else 3, machine()

    def say(what: str) -> None:
        console.print(f"{time.monotonic() - started:4.0f} s  {what}", style="dim", markup=False)

    if kept and (kept["machine"]["cpu"], kept["machine"]["cores"]) != (here["cpu"], here["cores"]):
        raise SystemExit(f"the rest was measured on another machine, {kept['machine']['cpu']}: leave --only out")
    redis, found = dict(kept.get("redis", {})), kept.get("points")
    if "calls" in parts:
        say("what Redis takes of a job")
        redis |= calls.measure(rounds)
    if "living" in parts:
        say("what Redis takes of workers that live")
        redis |= living.measure(rounds, CROWDS[:2] if quick else CROWDS)
    if "points" in parts:
        found = measure_points(rounds, say, quick=quick)
    quick = quick or bool(kept.get("quick"))
    return {"machine": here, "quick": quick, "redis": redis, "points": found}


def measure_points(rounds: int, say: Callable[[str], None], *, quick: bool) -> list[dict[str, Any]]:
    """Measure the points."""
    chosen = (REFERENCE, *(POINTS[:1] if quick else POINTS))
    with ending_on_signals(), tempfile.TemporaryDirectory() as name, running_stack(Path(name) / "stack") as stack:
        stack.start_servers()
        world = World(stack, Path(name), usable_cores())
        spec = ModelSpec("fast", str(world.folder / "fast"))
        write_bank(Path(spec.folder), Engine(*ModelSpec("demo", str(ROOT / "checkpoints")).files, device="cpu"))
        return points.measure(world, spec, chosen, rounds, say)


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
    parser.add_argument("--simulate", action="store_true", help="simulate alone, from what was measured (two minutes)")
    parser.add_argument("--only", choices=PARTS, help="measure that, and keep the rest of what --out names")
    parser.add_argument("--quick", action="store_true", help="measure little: its figures say nothing")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of the whole run alone is written")
    options = parser.parse_args()
    if not (options.measure or options.simulate):
        options.measure = options.simulate = True
    if options.out is None and not options.quick:
        options.out = report.RESULTS
    return options


def read(path: Path | None) -> dict[str, Any]:
    """Return what a run has written, by default the whole one."""
    found: dict[str, Any] = json.loads((path or report.RESULTS).read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Measure, simulate, print and write."""
    options = arguments()
    if options.measure:
        kept = read(options.out) if options.only else {}
        results = measure([options.only] if options.only else PARTS, kept, quick=options.quick)
        if options.out:  # a simulation that fails does not lose them
            write_json(results, options.out)
    else:
        results = read(options.out)
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
