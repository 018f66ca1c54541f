"""From what a tenant waited to what is shown: medians, ratios, and the README's table.

``python -m tests.benchmarks.tenants_report`` writes that from ``results/tenants.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import median, percentile
from tests.benchmarks.report import DISTURBED, between, write_readme

RESULTS = Path(__file__).with_name("results") / "tenants.json"
MARKS = ("<!-- tenants -->\n", "<!-- end of tenants -->\n")

WAYS = {"alone": "B alone", "tenants": "beside A", "jobs": "beside A, without tenants"}
"""What each way is called."""

HEAD = ["", "lone seed p50, ms", "p95", "max", "to alone", "job of 1,000: seeds/s", "share of all", "to alone"]
SPEEDS = ("b_seeds_per_s", "a_seeds_per_s", "b_share")

Results = Mapping[str, Any]


def summary(rounds: Sequence[Mapping[str, Results]]) -> dict[str, Any]:
    """Return the figures of all rounds together; ratios are medians of those of each round."""
    ways = {}
    for way in WAYS:
        waits = [wait for one in rounds for wait in one[way]["lone_ms"]]
        ways[way] = {
            "lone_seeds": len(waits),
            "lone_p50_ms": median(waits),
            "lone_p95_ms": percentile(waits, 0.95),
            "lone_max_ms": max(waits),
            "lone_to_alone": median(median(one[way]["lone_ms"]) / median(one["alone"]["lone_ms"]) for one in rounds),
            "job_to_alone": median(one[way]["b_seeds_per_s"] / one["alone"]["b_seeds_per_s"] for one in rounds),
            **{name: median(one[way][name] for one in rounds) for name in SPEEDS},
        }
    return {"rounds": len(rounds), "ways": {way: _rounded(figures) for way, figures in ways.items()}}


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in figures.items()}


def markdown(results: Results) -> str:
    """Return the README's table, after what is to be said of the run."""
    share = results["others_cpu_share"]
    said = f"Other processes took {share:.0%} of the cores meanwhile: measure again on a quiet machine.\n\n"
    lines = [HEAD, ["---"] * len(HEAD), *(_row(way, figures) for way, figures in results["ways"].items())]
    return (said if share > DISTURBED else "") + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(way: str, figures: Results) -> list[str]:
    waits = [f"{figures[f'lone_{name}_ms']:,.0f}" for name in ("p50", "p95", "max")]
    job = [f"{figures['b_seeds_per_s']:.0f}", f"{figures['b_share']:.0%}", f"{figures['job_to_alone']:.2f}"]
    return [WAYS[way], *waits, f"{figures['lone_to_alone']:.1f}", *job]


def put_into(text: str, results: Results) -> str:
    """Return the README with the table between its marks."""
    return between(text, MARKS, markdown(results))


if __name__ == "__main__":
    write_readme(put_into, json.loads(RESULTS.read_text(encoding="utf-8")))
