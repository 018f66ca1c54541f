"""Polls are soon at first, seldom while nothing can be awaited, and close together when the end is near."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.contract import JobStatus
from producer.errors import JobTimeout
from producer.job import Counts, JobRecord, JobView
from producer.pace import BEFORE, POLL_FIRST_S, POLL_MAX_S, SHARE, Pace

CHUNKS = 10
CHUNK = 32
TOTAL = CHUNKS * CHUNK


def seen(done: int, now: float) -> JobView:
    """Return a job of which so much is done after ``now`` seconds, the speed so far being its speed."""
    status = JobStatus.SUCCEEDED if done == TOTAL else JobStatus.RUNNING
    left = TOTAL - done
    eta_s = left / (done / now) if done and left else None
    time = datetime.now(UTC)
    return JobView(
        JobRecord(
            id="j",
            status=status,
            counts=Counts(TOTAL, left, 0, done, 0, 0),
            chunks=CHUNKS,
            created_at=time,
            started_at=time,
            completed_at=None,
            expires_at=time,
            eta_s=eta_s,
        )
    )


def polls(ends: Sequence[float]) -> list[float]:
    """Return when a job was polled whose chunks end at these times; the last poll sees the end of the job."""
    now, times = 0.0, []
    pace = Pace(now)
    while True:
        times.append(now)
        done = CHUNK * sum(end <= now for end in ends)
        if done == TOTAL:
            return times
        now += pace.delay(seen(done, max(now, 1e-9)), now)


def steadily(chunk_s: float) -> list[float]:
    """Return the ends of chunks that take so long each."""
    return [chunk_s * number for number in range(1, CHUNKS + 1)]


@pytest.mark.parametrize("chunk_s", [0.01, 0.3, 0.77, 5.0])
def test_the_end_of_a_steady_job_is_foreseen(chunk_s: float) -> None:
    late = polls(steadily(chunk_s))[-1] - CHUNKS * chunk_s
    assert late < max(0.002, 0.005 * CHUNKS * chunk_s)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 20.0), min_size=CHUNKS, max_size=CHUNKS))
def test_a_wait_is_hardly_longer_than_its_job_however_that_goes(ends: list[float]) -> None:
    end = max(ends)
    assert polls(ends)[-1] - end <= min(POLL_MAX_S, max(POLL_FIRST_S, end * SHARE * 1.001))


def test_two_chunks_that_end_right_after_one_another_are_both_seen() -> None:
    ends = [1.0] * 9 + [1.05]
    assert polls(ends)[-1] - 1.05 < 0.07


def test_a_job_of_minutes_is_polled_seldom() -> None:
    times = polls(steadily(30.0))
    assert len(times) < 300 / POLL_MAX_S + 200
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) == pytest.approx(POLL_MAX_S)
    assert min(gaps) >= POLL_FIRST_S * 0.999


def test_while_nothing_is_known_the_gaps_grow_with_the_wait() -> None:
    pace = Pace(100.0)
    assert pace.delay(seen(0, 1.0), 100.0) == POLL_FIRST_S
    assert pace.delay(seen(0, 1.0), 101.6) == pytest.approx(0.1)
    assert pace.delay(seen(0, 1.0), 200.0) == POLL_MAX_S


def test_of_a_job_whose_counts_go_back_nothing_is_foreseen_that_was_before() -> None:
    pace = Pace(0.0)
    pace.delay(seen(0, 8.0), 8.0)
    assert pace.delay(seen(9 * CHUNK, 9.0), 9.0) <= POLL_MAX_S / 2
    assert pace.delay(seen(0, 9.1), 9.1) == pytest.approx((9.1 - 9.0) * SHARE)
    assert pace.delay(seen(9 * CHUNK, 9.2), 9.2) == pytest.approx((9.1 + 9.2 / 9 - 9.2) * BEFORE)


def test_a_server_that_holds_its_answers_is_asked_again_at_once_and_one_that_does_not_seldom() -> None:
    pace = Pace(0.0, hold_s=30)
    assert pace.hold(0.0) == 30
    assert pace.delay(seen(0, 30.0), 30.0) == POLL_FIRST_S
    assert pace.hold(30.0) == 30
    assert pace.delay(seen(0, 31.0), 31.0) == POLL_MAX_S


def test_answers_are_held_no_longer_than_the_wait_may_last() -> None:
    pace = Pace(0.0, 12.5, hold_s=10)
    assert pace.hold(0.0) == 10
    assert pace.hold(10.1) == 2
    assert pace.hold(12.2) == 0
    assert pace.delay(seen(0, 12.3), 12.3) == pytest.approx(0.2)
    assert pace.hold(13.0) == 0
    with pytest.raises(JobTimeout):
        pace.delay(seen(0, 13.0), 13.0)


def test_a_server_that_cannot_hold_answers_is_not_asked_to() -> None:
    assert Pace(0.0, 60.0).hold(1.0) == 0
