"""From figures to what is shown: ratios, the bars that are to be met, the table of the terminal and of the README."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import median
from tests.support import ROOT

RESULTS = ROOT / "tests" / "benchmarks" / "results" / "throughput.json"
README = ROOT / "README.md"
MARKS = ("<!-- throughput -->\n", "<!-- end of throughput -->\n")

MODELS = {"demo": "demo model", "large": "large model", "fast": "fast device"}
ROWS = {
    "loop": "plain loop, local disk",
    "celery": "Celery, prefork",
    "celery-batches": "celery-batches",
    "litserve": "LitServe",
    "seedmill lone": "seedmill, lone seeds",
    "seedmill lists": "seedmill, lists of 32",
    "seedmill range": "seedmill, one range",
    "seedmill-two lone": "two workers, lone seeds",
    "seedmill-two lists": "two workers, lists of 32",
    "seedmill-two range": "two workers, one range",
}
"""What each system is called."""

DISTURBED = 0.1
"""Part of the cores taken by others above which figures are not to be believed."""

OTHERS = ("loop", "celery", "celery-batches", "litserve")
COLUMNS = {
    "seeds_per_s": "seeds/s",
    "lone_p50_ms": "lone p50, ms",
    "lone_p95_ms": "p95",
    "worker_cpu_ms": "CPU ms a seed: worker",
    "valkey_cpu_ms": "Valkey",
    "s3_cpu_ms": "S3",
    "client_cpu_ms": "client",
}

Results = Mapping[str, Any]


def ratios(systems: Results) -> dict[str, dict[str, float]]:
    """Return how often each other system's speed seedmill's is, for one range and for lone seeds, round by round."""
    found: dict[str, dict[str, float]] = {}
    for mode in ("range", "lone"):
        ours = systems.get(f"seedmill {mode}")
        others = [name for name in OTHERS if name in systems]
        if ours and others:
            found[mode] = {name: _ratio(ours["rounds"], systems[name]["rounds"]) for name in others}
    return found


def _ratio(ours: Sequence[float | None], others: Sequence[float | None]) -> float:
    return round(median(a / b for a, b in zip(ours, others, strict=True) if a and b), 3)


def look_up(results: Results, path: str) -> float | None:
    """Return the value at a path of names between slashes, ``None`` if it was not measured."""
    value: Any = results
    for name in path.split("/"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return None if value is None else float(value)


def bars(results: Results) -> list[dict[str, Any]]:
    """Return each bar with its target, what was measured, and whether it is met (``None``: not measured)."""
    host = look_up(results, "models/fast/systems/seedmill lists/worker_cpu_ms")
    losses = [look_up(results, f"round_trips/{mode}_loss") for mode in ("range", "lone")]
    worst = max(known) if (known := [loss for loss in losses if loss is not None]) else None
    wanted: list[tuple[str, str, float, float | None]] = [
        ("demo: one range to the loop", ">=", 0.95, look_up(results, "models/demo/ratios/range/loop")),
        ("large: one range to the loop", ">=", 0.95, look_up(results, "models/large/ratios/range/loop")),
        ("demo: one range to Celery", ">=", 1.15, look_up(results, "models/demo/ratios/range/celery")),
        ("fast: one range to Celery", ">=", 3.0, look_up(results, "models/fast/ratios/range/celery")),
        ("demo: lone seed beyond model and encoding, p50 ms", "<=", 10.0, overhead(results, "demo")),
        ("fast: lone seed beyond model and encoding, p50 ms", "<=", 10.0, overhead(results, "fast")),
        ("host: worker CPU ms a seed, fast device, lists of 32", "<=", 1.5, host),
        ("2 ms of round trip: share of speed lost", "<=", 0.2, worst),
        ("a million seeds: submit, s", "<=", 2.0, look_up(results, "million/submit_s")),
        ("a million seeds: poll p50, ms", "<=", 5.0, look_up(results, "million/poll_p50_ms")),
    ]
    return [
        {"bar": name, "target": f"{sign} {target:g}", "measured": measured, "met": is_met(sign, target, measured)}
        for name, sign, target, measured in wanted
    ]


def overhead(results: Results, model: str) -> float | None:
    """Return what a lone seed takes beyond model and encoding."""
    return look_up(results, f"models/{model}/systems/seedmill lone/lone_overhead_ms")


def is_met(sign: str, target: float, measured: float | None) -> bool | None:
    """Return whether a value is on the right side of its target."""
    if measured is None:
        return None
    return measured >= target if sign == ">=" else measured <= target


def rows(results: Results) -> list[list[str]]:
    """Return the cells of the table: model, system, figures, and seedmill's one range to it."""
    lines = []
    for model, measured in results["models"].items():
        systems = measured["systems"]
        for name in [name for name in ROWS if name in systems]:
            cells = [_cell(systems[name].get(column)) for column in COLUMNS]
            ratio = measured["ratios"].get("range", {}).get(name)
            lines.append([MODELS[model], ROWS[name], *cells, "" if ratio is None else f"{ratio:.2f}"])
    return lines


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


HEAD = ["model", "system", *COLUMNS.values(), "one range to it"]


def markdown(results: Results) -> str:
    """Return what is to be said of the run, the table of the README, and below it the bars."""
    lines = [HEAD, ["---"] * len(HEAD), *rows(results)]
    lines += [[], ["bar", "target", "measured"], ["---"] * 3, *_bar_rows(results["bars"])]
    said = "".join(f"{remark}\n\n" for remark in remarks(results))
    return said + "".join(f"| {' | '.join(line)} |\n" if line else "\n" for line in lines)


def remarks(results: Results) -> list[str]:
    """Return why the figures of a run say little, if they do."""
    found = []
    if results.get("quick"):
        found.append("This was a quick run over a few seeds: its figures say little.")
    if (share := disturbance(results)) > DISTURBED:
        found.append(
            f"Other processes took up to {share:.0%} of the cores meanwhile: measure again on a quiet machine."
        )
    return found


def _bar_rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [[bar["bar"], bar["target"], _measured(bar)] for bar in found]


def _measured(bar: Mapping[str, Any]) -> str:
    value = bar["measured"]
    return "" if value is None else f"{value:.3g}" + ("" if bar["met"] else ", missed")


def put_into(text: str, results: Results) -> str:
    """Return the README with the table between its marks."""
    return between(text, MARKS, markdown(results))


def between(text: str, marks: tuple[str, str], made: str) -> str:
    """Return a text with what was made between its marks, in place of what was there."""
    before, rest = text.split(marks[0])
    after = rest.split(marks[1])[1]
    return before + marks[0] + made + marks[1] + after


def write_json(results: Results, path: Path) -> None:
    """Write figures as a file."""
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def keep(results: Results, path: Path | None, whole: Path, put: Callable[[str, Results], str]) -> None:
    """Write figures to ``path``, if there is one; if that is the file of ``whole`` runs, into the README as well."""
    if path is None:
        return
    write_json(results, path)
    if path.resolve() == whole:
        write_readme(put, results)


def write_readme(put: Callable[[str, Results], str], results: Results) -> None:
    """Have figures put into the README."""
    README.write_text(put(README.read_text(encoding="utf-8"), results), encoding="utf-8")


def print_tables(results: Results, console: Console) -> None:
    """Print all figures."""
    table = Table(*HEAD, title="throughput")
    for row in rows(results):
        table.add_row(*row)
    console.print(table)
    table = Table("figure", "value", title="of seedmill alone")
    for section in ("round_trips", "memory", "million", "imports"):
        for name, value in results.get(section, {}).items():
            table.add_row(f"{section} {name}", f"{value:.3g}" if isinstance(value, float) else str(value))
    console.print(table)
    table = Table("bar", "target", "measured", title="bars")
    for row in _bar_rows(results["bars"]):
        table.add_row(*row)
    console.print(table)
    for measured in results["models"].values():
        for line in measured["void"]:
            console.print(f"void: {line}", markup=False, style="red")
    for remark in remarks(results):
        console.print(remark, markup=False, style="yellow")


def disturbance(results: Results) -> float:
    """Return the largest part of the machine's cores that others took while a figure was measured."""
    found = [figures for measured in results["models"].values() for figures in measured["systems"].values()]
    return max((figures.get("others_cpu_share", 0.0) for figures in found), default=0.0)
