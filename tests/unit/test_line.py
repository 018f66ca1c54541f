"""Who comes next: urgency first, jobs in turn, nobody starves; under a clock that tests move."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from worker.line import BACKWARDS_EVERY, Line

JOBS = st.sampled_from("abcd")
URGENCIES = st.sampled_from([0, 9])


def line(most: int = 4, wait_s: float = 0.0, **jobs: int) -> Line[str]:
    """Return a line in which these jobs have as many items."""
    line: Line[str] = Line(most=most, wait_s=wait_s)
    for job, number in jobs.items():
        line.put([f"{job}{index}" for index in range(number)], job=job, urgency=0, now=0.0)
    return line


def test_equally_urgent_jobs_take_turns() -> None:
    waiting = line(a=100, b=2, c=3)
    assert waiting.take() == ["a0", "b0", "c0", "a1"]
    assert waiting.take() == ["b1", "c1", "a2", "c2"]
    assert waiting.take() == ["a3", "a4", "a5", "a6"]


def test_a_job_that_comes_while_a_large_one_waits_is_in_the_next_batch() -> None:
    waiting = line(a=1000)
    waiting.take()
    waiting.put(["b0"], job="b", urgency=0, now=1.0)
    assert "b0" in waiting.take()


def test_the_more_urgent_come_first_and_the_rest_of_the_batch_is_the_others() -> None:
    waiting = line(a=3)
    waiting.put(["x0", "x1"], job="x", urgency=9, now=0.0)
    assert waiting.take() == ["a0", "a1", "a2", "x0"]


def test_every_eighth_batch_begins_with_the_least_urgent() -> None:
    waiting = line(a=100)
    waiting.put([f"x{index}" for index in range(8)], job="x", urgency=9, now=0.0)
    batches = [waiting.take() for _ in range(BACKWARDS_EVERY)]
    assert all(item.startswith("a") for batch in batches[:-1] for item in batch)
    assert batches[-1] == ["x0", "x1", "x2", "x3"]


def test_nothing_waits_for_company_by_default() -> None:
    assert line().due_in(0.0) is None
    assert line(a=1).due_in(0.0) == 0


def test_a_batch_that_is_not_full_may_wait_for_more_but_not_longer_than_told() -> None:
    waiting = line(wait_s=0.5, a=1)
    assert waiting.due_in(0.2) == pytest.approx(0.3)
    waiting.put(["b0"], job="b", urgency=0, now=0.4)
    assert waiting.due_in(0.4) == pytest.approx(0.1), "the oldest counts"
    assert waiting.due_in(0.7) == 0
    waiting.put(["b1", "b2"], job="b", urgency=0, now=0.41)
    assert waiting.due_in(0.41) == 0, "it is full"


@given(st.lists(st.tuples(JOBS, st.integers(1, 30)), min_size=1, max_size=20), st.integers(1, 16))
def test_jobs_that_all_wait_get_as_many_places_give_or_take_one(puts: list[tuple[str, int]], most: int) -> None:
    waiting: Line[str] = Line(most=most)
    left: Counter[str] = Counter()
    for job, number in puts:
        waiting.put([job] * number, job=job, urgency=0, now=0.0)
        left[job] += number
    got: Counter[str] = Counter()
    while batch := waiting.take():
        for job in batch:
            got[job] += 1
            busy = [got[other] for other in left if got[other] < left[other] or other == job]
            assert max(busy) - min(busy) <= 1
    assert got == left


class Taking(RuleBasedStateMachine):
    """Any history of puts and takes, against a plain model of what a line owes."""

    def __init__(self) -> None:
        super().__init__()
        self.line: Line[tuple[str, int, int]] = Line(most=3, wait_s=1.0)
        self.waiting: dict[tuple[str, int], list[int]] = {}
        self.passed_over: Counter[tuple[str, int]] = Counter()
        self.number = 0
        self.now = 0.0

    @rule(job=JOBS, urgency=URGENCIES, number=st.integers(0, 7), later=st.integers(0, 400))
    def put(self, job: str, urgency: int, number: int, later: int) -> None:
        self.now += later / 1024
        numbers = range(self.number, self.number + number)
        self.number += number
        self.line.put([(job, urgency, item) for item in numbers], job=job, urgency=urgency, now=self.now)
        self.waiting.setdefault((job, urgency), []).extend(numbers)

    @rule()
    def take(self) -> None:
        before = {key for key, items in self.waiting.items() if items}
        batch = self.line.take()
        assert len(batch) == min(3, sum(map(len, self.waiting.values())))
        for job, urgency, item in batch:
            assert self.waiting[job, urgency].pop(0) == item, "of a job the first come first"
        served = {(job, urgency) for job, urgency, _ in batch}
        for key in before:
            self.passed_over[key] = 0 if key in served else self.passed_over[key] + 1
            assert self.passed_over[key] <= 4 * BACKWARDS_EVERY, "four jobs of one urgency, a turn in eight batches"

    @invariant()
    def it_knows_how_many_wait_and_when_they_are_due(self) -> None:
        waits = sum(map(len, self.waiting.values()))
        assert len(self.line) == waits
        due_in = self.line.due_in(self.now)
        assert (due_in is None) == (waits == 0)
        assert due_in is None or 0 <= due_in <= 1.0
        assert waits < 3 or due_in == 0


TestTaking = Taking.TestCase


def test_tenants_take_turns_whatever_the_number_of_their_jobs() -> None:
    line: Line[str] = Line(most=4)
    for number in range(10):
        line.put([f"many-{number}"], job=f"many-{number}", tenant="many", urgency=0, now=0.0)
    line.put(["one-a", "one-b"], job="one", tenant="one", urgency=0, now=0.0)
    line.put(["nobody-a", "nobody-b"], job="nobody", urgency=0, now=0.0)
    assert line.take() == ["many-0", "one-a", "nobody-a", "many-1"]
    assert line.take() == ["one-b", "nobody-b", "many-2", "many-3"]


def test_the_jobs_of_one_tenant_take_turns_among_themselves() -> None:
    line: Line[str] = Line(most=6)
    line.put(["a1", "a2", "a3"], job="a", tenant="one", urgency=0, now=0.0)
    line.put(["b1", "b2"], job="b", tenant="one", urgency=0, now=0.0)
    assert line.take() == ["a1", "b1", "a2", "b2", "a3"]
    assert len(line) == 0
