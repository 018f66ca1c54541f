"""From what a run of a million seeds has shown to its figures, and the README's table of them.

``python -m tests.benchmarks.million_report`` writes that from ``results/million.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Any

from tests.benchmarks.measure import percentile
from tests.benchmarks.report import DISTURBED, between, write_readme

RESULTS = Path(__file__).with_name("results") / "million.json"
MARKS = ("<!-- million -->\n", "<!-- end of million -->\n")
TENTHS = 10
WHEN = {"before": 0, "after": 1}
"""Before the kill and after it: the generations of the processes."""
WARM = 0.2
"""Part of what a process has of the seeds in which it becomes warm; the rest tells whether its memory grows."""
KEPT_SAMPLES = 100

MEMORY_HEAD = [
    "memory, MB, and bytes that it grew by with each seed of the job",
    *("once warm, to the kill", "after it, to the end of the job"),
    "most, manifest and results included",
]

Results = Mapping[str, Any]
Said = Sequence[Results]


def summary(seeds: int, said: Said, samples: Sequence[Results], kill: Results) -> dict[str, Any]:
    """Return the figures of a run: what the producer said, what was seen of all processes, and how they were killed."""
    ended, results = _one(said, "ended"), _one(said, "results read")
    return {
        "seeds": seeds,
        "status": ended["status"],
        "counts": ended["counts"],
        "submit_s": _one(said, "submitted")["s"],
        "job_s": round(ended["s"], 1),
        "speed": speeds(seeds, samples, kill),
        "polls": polls(seeds, said),
        "kill": {name: round(value, 2) for name, value in kill.items()},
        "memory": memory(seeds, samples),
        "cpu_ms_a_seed": cpu_ms(samples),
        "results": {"s": round(results["s"], 1), "seeds": results["seeds"], "digest": results["digest"]},
        "manifest_s": round(_one(said, "manifest written")["since_end_s"], 1),
        "samples": list(samples[:: max(1, len(samples) // KEPT_SAMPLES)]),
    }


def _one(said: Said, action: str) -> Results:
    (found,) = (line for line in said if line["action"] == action)
    return found


def speeds(seeds: int, samples: Sequence[Results], kill: Results) -> dict[str, float]:
    """Return seeds a second before the kill and after it, from the first sample in which some had ended."""
    found = {}
    for name, generation in WHEN.items():
        points = [
            one
            for one in samples
            if one["generation"] == generation and kill["done_after"] * generation < one["done"] < seeds
        ]
        seconds = points[-1]["at_s"] - points[0]["at_s"] if len(points) > 1 else 0.0
        found[f"{name}_seeds_per_s"] = round((points[-1]["done"] - points[0]["done"]) / seconds, 1) if seconds else 0.0
    return found


def polls(seeds: int, said: Said) -> dict[str, Any]:
    """Return how long polls took, over all and by tenths of the job; and how long the queue did not answer."""
    made = [line for line in said if line["action"] == "polled"]
    tenths: list[list[float]] = [[] for _ in range(TENTHS)]
    for line in made:
        tenths[min(TENTHS - 1, line["done"] * TENTHS // seeds)].append(line["ms"])
    away = [line["s"] for line in said if line["action"] == "unreachable"]
    return {
        "polls": len(made),
        **_spread([line["ms"] for line in made]),
        "unreachable": {"polls": len(away), "s": round(sum(away), 1)},
        "by_tenth": [_spread(some) for some in tenths if some],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(percentile(values, share), 2) for name, share in shares.items()}


def memory(seeds: int, samples: Sequence[Results]) -> dict[str, dict[str, Any]]:
    """Return of each process what it had before the kill and after it, and at most, manifest and results included."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({name for one in samples for name in one["rss_mb"]}):
        mine = [one for one in samples if name in one["rss_mb"]]
        found[name] = {"most_mb": max(one["rss_mb"][name] for one in mine)}
        for when, generation in WHEN.items():
            points = [(one["done"], one["rss_mb"][name]) for one in mine if one["generation"] == generation]
            found[name][when] = growth([point for point in points if point[0] < seeds])
    data = [(one["done"], one["redis_used_mb"]) for one in samples if one["done"] < seeds]
    found["data of Redis"] = {"most_mb": max(one["redis_used_mb"] for one in samples), "whole": growth(data)}
    return found


def growth(points: Sequence[tuple[int, float]]) -> dict[str, float]:
    """Return the memory of a process when it was warm and at the end, and how a line between rises; nothing of none."""
    if not points:
        return {}
    first = points[0][0] + WARM * (points[-1][0] - points[0][0])
    warm = [point for point in points if point[0] >= first]
    seeds = warm[-1][0] - warm[0][0]
    slope = linear_regression(*zip(*warm, strict=True)).slope if seeds else 0.0
    figures = {"warm_mb": warm[0][1], "end_mb": warm[-1][1], "grew_mb": slope * seeds, "bytes_a_seed": slope * 1e6}
    return {"seeds": seeds, **{name: round(value, 1) for name, value in figures.items()}}


def cpu_ms(samples: Sequence[Results]) -> dict[str, float]:
    """Return the CPU milliseconds a seed of all processes of a kind, between the first sample and that of the kill."""
    before = [one for one in samples if one["generation"] == 0]
    first, last = before[0], before[-1]
    spent: dict[str, float] = {}
    for name, value in last["cpu_s"].items():
        kind = "workers" if name.startswith("worker") else name
        spent[kind] = spent.get(kind, 0.0) + value - first["cpu_s"].get(name, 0.0)
    done = max(1, last["done"] - first["done"])
    return {kind: round(value * 1000 / done, 3) for kind, value in spent.items()}


def markdown(results: Results) -> str:
    """Return the README's table, after what is to be said of the run."""
    share = results["others_cpu_share"]
    said = f"Other processes took {share:.0%} of the cores meanwhile: measure again on a quiet machine.\n\n"
    lines = [["what", "measured"], ["---"] * 2, *rows(results), [], MEMORY_HEAD, ["---"] * len(MEMORY_HEAD)]
    lines += [_memory_row(name, one) for name, one in results["memory"].items()]
    return (said if share > DISTURBED else "") + "".join(
        f"| {' | '.join(line)} |\n" if line else "\n" for line in lines
    )


def rows(results: Results) -> list[list[str]]:
    """Return what was measured, a line each."""
    seeds, polled, killed = results["seeds"], results["polls"], results["kill"]
    speed, checked, read = results["speed"], results["checked"], results["results"]
    found = {
        "seeds, and how long from the submit to the end of the job": f"{seeds:,} in {results['job_s']:,.0f} s",
        "seeds/s before the kill, and after it": " and ".join(f"{value:,.0f}" for value in speed.values()),
        "submit, ms": f"{results['submit_s'] * 1000:.1f}",
        f"{polled['polls']:,} polls: p50, p99 and longest, ms": _listed(polled),
        "the same in the first, the middle and the last tenth of the job": "; ".join(
            _listed(polled["by_tenth"][place]) for place in (0, len(polled["by_tenth"]) // 2, -1)
        ),
        "both workers and Valkey killed: seeds recorded just before, and when Valkey was back": (
            f"{killed['done_before']:,.0f} and {killed['done_after']:,.0f}"
        ),
        "Valkey back, workers ready, next seeds recorded, s": ", ".join(
            f"{killed[name]:.1f}" for name in ("valkey_back_s", "workers_ready_s", "first_seeds_s")
        ),
        "seeds without a result; without whole objects; computed twice; published twice": "; ".join(
            str(value)
            for value in (
                seeds - results["counts"]["succeeded"],
                seeds - checked["pictures_whole"] if "pictures_whole" in checked else "not counted",
                results["computed"]["twice"],
                checked.get("pictures_put_again", "not counted"),
            )
        ),
        "manifest: lines, MB, s after the end of the job": (
            f"{checked['manifest_lines']:,}, {checked['manifest_mb']:,.0f}, {results['manifest_s']:.0f}"
        ),
        "all results read page by page, s": f"{read['s']:.0f}",
        "CPU ms a seed": ", ".join(f"{name} {value:.2f}" for name, value in results["cpu_ms_a_seed"].items()),
        "bytes of Redis a seed": _bytes_of_redis(results),
    }
    return [[what, text] for what, text in found.items()]


def _listed(spread: Results) -> str:
    return ", ".join(f"{spread[name]:,.1f}" for name in ("p50_ms", "p99_ms", "max_ms"))


def _bytes_of_redis(results: Results) -> str:
    kinds = {kind: kept["mb"] * 1e6 / results["seeds"] for kind, kept in results["redis"].items()}
    listed = ", ".join(f"{kind} {value:.0f}" for kind, value in kinds.items() if value >= 1)
    return f"{sum(kinds.values()):,.0f}: {listed}"


def _memory_row(name: str, one: Results) -> list[str]:
    spans = [one[when] for when in ("whole", *WHEN) if when in one]
    cells = [_span(span) for span in spans] + [""] * (len(WHEN) - len(spans))
    return [name, *cells, f"{one['most_mb']:,.0f}"]


def _span(span: Results) -> str:
    if not span:
        return ""
    return f"{span['warm_mb']:,.0f} to {span['end_mb']:,.0f}, {span['bytes_a_seed']:,.0f}"


def put_into(text: str, results: Results) -> str:
    """Return the README with the table between its marks."""
    return between(text, MARKS, markdown(results))


if __name__ == "__main__":
    write_readme(put_into, json.loads(RESULTS.read_text(encoding="utf-8")))
