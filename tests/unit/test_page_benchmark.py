"""The arithmetic and the table of the benchmark of the page."""

from __future__ import annotations

from typing import Any

from tests.benchmarks import page_report

GALLERY = {
    "pictures": 10_000,
    "first_tile_ms": 210.04,
    "first_picture_ms": 260.0,
    "frames": 2000,
    "frames_over_50_ms": 3,
    "longest_frame_ms": 66.7,
    "scrolled_s": 33.3,
    "tiles_at_the_end": 60,
    "elements": 500,
    "heap_mb": 9.5,
    "search_ms": 480.0,
}
MEASURED: dict[str, Any] = {
    "lone": [{"from_publication_ms": 10.0 * n, "from_click_ms": 100.0 * n} for n in (1, 2, 9)],
    "cold": [{"paint_ms": 90.4, "interactive_ms": 120.0}, {"paint_ms": 70.0, "interactive_ms": 100.0}],
    "weight": {"/": 2000, "/assets/app.js": 9000, "/assets/a.css": 4000, "/assets/b.css": 4000, "/v1/info": 500},
    "gallery": GALLERY,
}


def results(others: float = 0.0) -> dict[str, Any]:
    return {"others_cpu_share": others, **page_report.summary(MEASURED)}


def test_a_run_is_told_by_its_medians_and_its_longest() -> None:
    found = results()
    assert found["from_publication_ms"] == {"p50": 20, "max": 90}
    assert found["from_click_ms"] == {"p50": 200, "max": 900}
    assert found["cold"] == {"paint_ms": 80, "interactive_ms": 110}
    assert found["bytes"] == 19_500
    assert found["gallery"]["first_tile_ms"] == 210.0


def test_files_are_weighed_by_kind_the_heaviest_first() -> None:
    kinds = page_report.by_kind({**MEASURED["weight"], "/assets/x.bin": 1})
    assert list(kinds.items())[:2] == [("scripts", 9000), ("styles", 8000)]
    assert (kinds["document"], kinds["answers of the API"], kinds[".bin"]) == (2000, 500, 1)


def test_the_table_says_what_was_measured_and_stands_between_its_marks() -> None:
    table = page_report.markdown(results())
    assert "| weight before the first picture, kB | 19.5: scripts 9.0, styles 8.0, document 2.0, " in table
    assert "3 lone seeds: p50 and longest, ms | 20 and 90 |\n" in table
    assert "| 2,000, 3, 67 |\n" in table
    text = "before\n" + "old".join(page_report.MARKS) + "after\n"
    assert page_report.put_into(text, results()) == "before\n" + table.join(page_report.MARKS) + "after\n"


def test_a_disturbed_run_says_so() -> None:
    assert "Other processes took 50% of the cores" in page_report.markdown(results(0.5))
