"""How fast a job goes, and when it will end, from given numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.cli.render import duration, outlook
from producer.contract import JobStatus
from producer.progress import eta_s, seeds_per_s
from tests.unit.test_job import NOW_MS, record

START = 1_000_000


def speed(now_ms: int, done: int, **more: str) -> float | None:
    fields = {"started_ms": str(START), "succeeded": str(done), "failed": "0", **more}
    return seeds_per_s(fields, now_ms)


def test_before_there_is_a_mark_the_speed_is_that_since_the_start() -> None:
    assert speed(START + 10_000, 40) == 4.0
    assert speed(START + 20_000, 40, newest_mark=f"{START + 10_000}:40") == 2.0


def test_with_a_mark_the_speed_is_that_since_the_mark() -> None:
    assert speed(START + 600_000, 1040, mark=f"{START + 560_000}:1000") == 1.0


def test_failed_seeds_have_ended_too() -> None:
    assert speed(START + 10_000, 10, failed="30") == 4.0


def test_while_nothing_ends_the_speed_falls_towards_zero() -> None:
    seen = [speed(START + after, 1040, mark=f"{START}:1000") for after in (40_000, 80_000, 4_000_000, 40_000_000)]
    assert seen == [1.0, 0.5, 0.01, 0.001]
    assert speed(START + 40_000, 1000, mark=f"{START}:1000") == 0.0


def test_where_nothing_has_ended_yet_the_speed_is_unknown() -> None:
    assert speed(START + 10_000, 0) is None
    assert seeds_per_s({"succeeded": "3", "failed": "0"}, START) is None


def test_seeds_that_were_sent_again_make_no_negative_speed() -> None:
    assert speed(START + 40_000, 990, mark=f"{START}:1000") == 0.0


@given(st.integers(0, 10**8), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_speed_is_never_negative_and_always_finite(after_ms: int, done: int, before: int) -> None:
    for more in ({}, {"mark": f"{START}:{before}"}):
        value = speed(START + after_ms, done, **more)
        assert value is None or 0 <= value < 10**10


def test_the_time_left_is_what_is_left_by_the_speed() -> None:
    assert eta_s(120, 4.0) == 30.0
    assert eta_s(120, None) is eta_s(120, 0.0) is None


def test_only_a_job_that_runs_has_a_speed_and_only_one_that_waits_a_position() -> None:
    running = record(now_ms=NOW_MS + 10 + 6000, position=3)
    assert (running.seeds_per_s, running.eta_s, running.queue_position) == (0.5, 14.0, None)
    queued = record(status="queued", position=3)
    assert (queued.seeds_per_s, queued.eta_s, queued.queue_position) == (None, None, 3)
    for status in ("succeeded", "failed", "canceled"):
        ended = record(status=status, position=3)
        assert (ended.seeds_per_s, ended.eta_s, ended.queue_position) == (None, None, None)


def test_json_has_rounded_numbers() -> None:
    seen = record(now_ms=NOW_MS + 10 + 7000).to_dict()
    assert (seen["seeds_per_s"], seen["eta_s"], seen["queue_position"]) == (0.429, 16.3, None)
    assert record(status="queued", position=0).to_dict()["queue_position"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "queued", "position": 0}, "next in the queue"),
        ({"status": "queued", "position": 2}, "2 ahead in the queue"),
        ({"status": "queued"}, ""),
        ({"now_ms": NOW_MS + 10 + 6000}, "0.50 seeds/s, about 14 s left"),
        ({"total": 10_000, "now_ms": NOW_MS + 10 + 250}, "12.0 seeds/s, about 14 min left"),
        ({"mark": f"{NOW_MS}:3"}, "0.00 seeds/s"),
        ({"succeeded": 0, "failed": 0}, ""),
        ({"status": JobStatus.SUCCEEDED}, ""),
    ],
)
def test_what_a_person_reads_of_it(changes: dict[str, object], words: str) -> None:
    assert outlook(record(**changes)) == words  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "2 h"), (129_600, "2 d"), (10**6, "12 d")],
)
def test_a_time_is_told_in_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words
