"""From what callers of the API saw to what is shown: figures of a phase, tables of all phases, and the README's table.

``python -m tests.benchmarks.api_report`` writes that from ``results/api.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.report import DISTURBED, between, write_readme
from worker.machine import usable_cores

RESULTS = Path(__file__).with_name("results") / "api.json"
MARKS = ("<!-- api -->\n", "<!-- end of api -->\n")

PHASES = {
    "heed": "2,000 pollers who heed Retry-After, 200 streams",
    "fits": "300 pollers once a second, 200 streams",
    "polls": "2,000 pollers once a second, 200 streams",
    "waits": "2,000 who submit and long-poll",
}
"""What each phase is called."""

ONE_THREAD = ("API", "locust", "readers", "valkey")

TOLD = "end to answer"
"""Under this name callers say how late they heard that a job had ended ..."""

LATER = "Retry-After"
"""... and under this one when they were told to come again; neither is a request."""

WHAT = {
    "poll": "polls",
    TOLD: "long polls, from the job's end",
    "submit": "submit",
    "results page": "results page",
    "image redirect": "image redirect",
}
"""What the README shows of a phase, and how it calls it; a long poll as such waits for the queue."""

EVENTS = "events, from the record in Redis"

HEAD = ("phase", "what", "per second", "p50, ms", "p95", "p99")
SHARES = ("p50", "p95", "p99")

SATURATED = 0.85
"""Part of a core from which on a process of one thread can do no more; of all cores, the machine."""

Results = Mapping[str, Any]


def phase(
    load: Results, figures: Results, spent: Mapping[str, float], rss: Results, streams: Results | None
) -> dict[str, Any]:
    """Return the figures of a phase; ``spent`` are seconds, and cores by the name of the process."""
    seconds = spent["seconds"]
    calls = sum(kind["calls"] for name, kind in figures["kinds"].items() if name not in (TOLD, LATER))
    cores = {name: round(share, 3) for name, share in spent.items() if name != "seconds"}
    found = {
        **load,
        "requests_per_s": round(calls / seconds, 1),
        "kinds": {name: _kind(kind, seconds) for name, kind in sorted(figures["kinds"].items())},
        "errors": figures["errors"][:10],
        "cores": cores,
        "limited_by": limits(cores),
        "api_cpu_ms_per_request": round(spent["API"] * seconds * 1000 / max(1, calls), 3),
        "api_rss_mb": {name: round(value, 1) for name, value in rss.items()},
    }
    return {**found, "streams": _rounded(streams)} if streams else found


def limits(cores: Mapping[str, float]) -> list[str]:
    """Return which processes of one thread could do no more, and ``machine`` if all cores were taken."""
    found = [name for name in ONE_THREAD if cores.get(name, 0.0) >= SATURATED]
    return [*found, *(["machine"] if sum(cores.values()) >= SATURATED * usable_cores() else [])]


def _kind(kind: Results, seconds: float) -> dict[str, Any]:
    return {**kind, "per_s": round(kind["calls"] / seconds, 1)}


def _rounded(figures: Results) -> dict[str, Any]:
    late = {name: None if value is None else round(value, 1) for name, value in figures["late"].items()}
    return {**figures, "events_per_s": round(figures["events_per_s"], 1), "late": late}


def remarks(results: Results) -> list[str]:
    """Return why the figures say little, if they do."""
    found = ["This was a quick run with few callers: its figures say little."] if results.get("quick") else []
    share = max(one["cores"]["others"] for one in results["phases"].values()) / results["machine"]["cores"]
    if share > DISTURBED:
        found.append(
            f"Other processes took up to {share:.0%} of the cores meanwhile: measure again on a quiet machine."
        )
    return found


def wrong(results: Results) -> list[str]:
    """Return what readers of streams saw that must not be."""
    return [line for one in results["phases"].values() for line in one.get("streams", {}).get("wrong", [])]


def print_tables(results: Results, console: Console) -> None:
    """Print all figures."""
    table = Table(*HEAD, "failed", title="as callers see it")
    for name, one in results["phases"].items():
        for what, kind in one["kinds"].items():
            table.add_row(PHASES[name], what, f"{kind['per_s']:.1f}", *_waits(kind), str(kind["failed"]))
        if streams := one.get("streams"):
            what, speed = f"events of {streams['streams']} streams", f"{streams['events_per_s']:.1f}"
            table.add_row(PHASES[name], what, speed, *_waits(streams["late"]), str(len(streams["wrong"])))
    console.print(table)
    heads = (
        "phase",
        "offered/s",
        "requests/s",
        "API CPU ms a request",
        "API MB before, during, after",
        "cores",
        "limit",
    )
    table = Table(*heads, title="what it costs")
    for name, one in results["phases"].items():
        cores = ", ".join(f"{process} {share:.2f}" for process, share in one["cores"].items())
        memory = ", ".join(f"{value:.0f}" for value in one["api_rss_mb"].values())
        offered = "" if one["offered_per_s"] is None else f"{one['offered_per_s']:.0f}"
        figures = [offered, f"{one['requests_per_s']:.0f}", f"{one['api_cpu_ms_per_request']:.2f}", memory, cores]
        table.add_row(PHASES[name], *figures, ", ".join(one["limited_by"]))
    console.print(table)
    for line in [*remarks(results), *(error for one in results["phases"].values() for error in one["errors"])]:
        console.print(line, markup=False, style="yellow")


def _waits(figures: Results) -> list[str]:
    found = [figures[f"{share}_ms"] for share in SHARES]
    return ["" if value is None else f"{value:,.0f}" for value in found]


def markdown(results: Results) -> str:
    """Return the README's table, after what is to be said of the run, and below it what the API took in each phase."""
    said = "".join(f"{remark}\n\n" for remark in remarks(results))
    lines = [HEAD, ["---"] * len(HEAD), *(row for name, one in results["phases"].items() for row in _rows(name, one))]
    took = [_took(name, one) for name, one in results["phases"].items()]
    return said + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n" + "".join(took)


def _rows(name: str, one: Results) -> list[Sequence[str]]:
    kinds = [(WHAT[what], one["kinds"][what]) for what in WHAT if what in one["kinds"]]
    rows = [[PHASES[name], what, f"{kind['per_s']:,.0f}", *_waits(kind)] for what, kind in kinds]
    if streams := one.get("streams"):
        rows.append([PHASES[name], EVENTS, f"{streams['events_per_s']:,.0f}", *_waits(streams["late"])])
    return [[row[0] if number == 0 else "", *row[1:]] for number, row in enumerate(rows)]


def _took(name: str, one: Results) -> str:
    cpu, rss = f"{one['api_cpu_ms_per_request']:.1f} ms of CPU a request", one["api_rss_mb"]
    return f"- {PHASES[name]}: {cpu}, {rss['before_mb']:.0f} MB before and {rss['after_mb']:.0f} MB after\n"


def put_into(text: str, results: Results) -> str:
    """Return the README with the table between its marks."""
    return between(text, MARKS, markdown(results))


if __name__ == "__main__":
    write_readme(put_into, json.loads(RESULTS.read_text(encoding="utf-8")))
