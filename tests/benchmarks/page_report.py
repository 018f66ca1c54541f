"""From what a browser saw of the page to what is shown: medians, the weight by kind of file, and the README's table.

``python -m tests.benchmarks.page_report`` writes that from ``results/page.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tests.benchmarks.measure import median
from tests.benchmarks.report import DISTURBED, between, write_readme

RESULTS = Path(__file__).with_name("results") / "page.json"
MARKS = ("<!-- page -->\n", "<!-- end of page -->\n")

KINDS = {
    ".html": "document",
    ".css": "styles",
    ".js": "scripts",
    ".woff2": "fonts",
    ".svg": "icon",
    "": "answers of the API",
}
"""What files of an ending are called; one of another ending is counted by that."""

MOST_BYTES = 150_000
"""What the page may weigh before the first picture."""

MOST_MS = 1000
"""How long after its publication a picture may be seen."""

Results = Mapping[str, Any]


def summary(measured: Results) -> dict[str, Any]:
    """Return the figures of a run, rounded."""
    lone = {name: _spread(measured["lone"], name) for name in ("from_publication_ms", "from_click_ms")}
    cold = {name: round(median(one[name] for one in measured["cold"])) for name in ("paint_ms", "interactive_ms")}
    gallery = {name: round(value, 1) for name, value in measured["gallery"].items()}
    return {
        "lone_seeds": len(measured["lone"]),
        **lone,
        "cold": cold,
        "files": measured["weight"],
        "bytes": sum(measured["weight"].values()),
        "gallery": gallery,
    }


def _spread(lone: Sequence[Mapping[str, float]], name: str) -> dict[str, int]:
    values = [one[name] for one in lone]
    return {"p50": round(median(values)), "max": round(max(values))}


def by_kind(files: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes of each kind of file, the heaviest first."""
    found: dict[str, int] = {}
    for path, size in files.items():
        ending = ".html" if path == "/" else PurePosixPath(path).suffix
        kind = KINDS.get(ending, ending)
        found[kind] = found.get(kind, 0) + size
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def markdown(results: Results) -> str:
    """Return the README's table, after what is to be said of the run."""
    share = results["others_cpu_share"]
    said = f"Other processes took {share:.0%} of the cores meanwhile: measure again on a quiet machine.\n\n"
    lines = [("what", "measured"), ("---", "---"), *rows(results)]
    return (said if share > DISTURBED else "") + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rows(results: Results) -> list[tuple[str, str]]:
    """Return what is shown, line by line."""
    seen, clicked, cold, gallery = (
        results[name] for name in ("from_publication_ms", "from_click_ms", "cold", "gallery")
    )
    kinds = ", ".join(f"{kind} {size / 1000:.1f}" for kind, size in by_kind(results["files"]).items())
    alone = f"{results['lone_seeds']} lone seeds"
    return [
        (f"picture seen after its publication, {alone}: p50 and longest, ms", f"{seen['p50']} and {seen['max']}"),
        (f"picture seen after the click, {alone}: p50 and longest, ms", f"{clicked['p50']} and {clicked['max']}"),
        ("weight before the first picture, kB", f"{results['bytes'] / 1000:.1f}: {kinds}"),
        ("first paint, and scripts ready, without a cache, ms", f"{cold['paint_ms']} and {cold['interactive_ms']}"),
        (
            f"gallery of {gallery['pictures']:,.0f}: first tile, and first picture, ms",
            f"{gallery['first_tile_ms']:.0f} and {gallery['first_picture_ms']:.0f}",
        ),
        (
            f"scrolled through in {gallery['scrolled_s']:.0f} s: frames, of which over 50 ms, the longest, ms",
            f"{gallery['frames']:,.0f}, {gallery['frames_over_50_ms']:.0f}, {gallery['longest_frame_ms']:.0f}",
        ),
        (
            "at its end: elements in the document, and MB held by scripts",
            f"{gallery['elements']:,.0f} and {gallery['heap_mb']:.1f}",
        ),
        ("search in its captions, from the last letter, ms", f"{gallery['search_ms']:.0f}"),
    ]


def put_into(text: str, results: Results) -> str:
    """Return the README with the table between its marks."""
    return between(text, MARKS, markdown(results))


if __name__ == "__main__":
    write_readme(put_into, json.loads(RESULTS.read_text(encoding="utf-8")))
