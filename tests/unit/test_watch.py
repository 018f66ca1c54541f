"""The watch over processes that live long sees what grows, and nothing where nothing does."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from tests.torture.watch import BOUNDS, Bound, Watch, rise


def test_a_bound_is_what_comes_and_goes_and_what_an_hour_adds() -> None:
    assert Bound(12, 16).over(900) == 16


def test_the_rise_is_that_of_a_line_through_all_points_and_not_of_the_last_one() -> None:
    assert rise([(at, 100 + at / 10) for at in range(100)]) == pytest.approx(9.9)
    assert rise([(at, 100 + 50 * (at == 99)) for at in range(100)]) < 3.0
    assert rise([(0, 1), (1, 100)]) == 0, "two points tell nothing"


def test_files_that_stay_open_are_a_leak() -> None:
    watch = Watch()
    with ExitStack() as opened:
        for at_s in range(24):
            for _ in range(2):
                opened.enter_context(open(os.devnull))  # noqa: PTH123  # a file as any other
            watch.look("this", os.getpid(), at_s)
    (leak,) = watch.leaks()
    assert leak.startswith("this: files rose by ")
    assert watch.figures()["this"]["files"]["rise"] > BOUNDS["files"].over(18)


def test_a_process_that_stays_as_it_is_leaks_nothing_and_one_that_has_ended_is_not_looked_at() -> None:
    watch = Watch()
    for at_s in range(8):
        watch.look("this", os.getpid(), at_s)
        watch.look("gone", 2**22 + 1, at_s)
    assert watch.leaks() == []
    figures = watch.figures()
    assert figures["this"]["looks"] == 6
    assert figures["this"]["threads"]["last"] >= 1
    assert "gone" not in figures
