"""Polls are soon at first, seldom while nothing can be awaited, and close together when the end is near."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from producer.contract import JobStatus
from producer.job import Counts, JobRecord, JobView
from producer.pace import POLL_FIRST_S, POLL_MAX_S, Pace

TOTAL = 320
CHUNK = 32


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
            chunks=TOTAL // CHUNK,
            created_at=time,
            started_at=time,
            completed_at=None,
            expires_at=time,
            eta_s=eta_s,
        )
    )


def polls(chunk_s: float, *, last_takes: float = 1.0) -> list[float]:
    """Return when a job was polled whose chunks end so many seconds apart; the last poll sees the end."""
    ends = [chunk_s * number for number in range(1, TOTAL // CHUNK + 1)]
    ends[-1] = ends[-2] + chunk_s * last_takes
    now, times = 0.0, []
    pace = Pace(now)
    while True:
        times.append(now)
        done = CHUNK * sum(end <= now for end in ends)
        if done == TOTAL:
            return times
        now += pace.delay(seen(done, max(now, 1e-9)), now)


@pytest.mark.parametrize("chunk_s", [0.01, 0.3, 0.77, 5.0])
def test_a_wait_ends_soon_after_its_job(chunk_s: float) -> None:
    times = polls(chunk_s)
    assert times[-1] - 10 * chunk_s < max(0.002, 0.005 * 10 * chunk_s)


@pytest.mark.parametrize("last_takes", [0.2, 1.5, 3.0])
def test_a_last_chunk_of_another_length_costs_no_more_than_a_part_of_it(last_takes: float) -> None:
    chunk_s = 0.5
    times = polls(chunk_s, last_takes=last_takes)
    assert times[-1] - chunk_s * (9 + last_takes) < chunk_s * max(0.5, last_takes / 10)


def test_a_job_of_minutes_is_polled_seldom() -> None:
    times = polls(30.0)
    assert len(times) < 300 / POLL_MAX_S + 400
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) == pytest.approx(POLL_MAX_S)
    assert min(gaps) >= POLL_FIRST_S * 0.999


def test_while_nothing_is_known_the_gaps_grow_with_the_wait() -> None:
    pace = Pace(100.0)
    assert pace.delay(seen(0, 1.0), 100.0) == POLL_FIRST_S
    assert pace.delay(seen(0, 1.0), 101.6) == pytest.approx(0.1)
    assert pace.delay(seen(0, 1.0), 200.0) == POLL_MAX_S
