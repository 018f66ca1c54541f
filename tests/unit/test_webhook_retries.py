"""What an answer means, and when the next attempt is due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from producer.api.webhooks.delivery import CLAIM_S, DELAYS_S, JITTER, Outcome, delay_s, judge
from producer.api.webhooks.egress import DRAIN_S, TOTAL_S, read_retry_after

FAILED = Outcome("it failed")
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_is_one(status: int) -> None:
    assert judge(status, None) == Outcome()


@pytest.mark.parametrize("status", [100, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503])
def test_everything_else_is_tried_again(status: int) -> None:
    outcome = judge(status, None)
    assert str(status) in outcome.error
    assert not outcome.final


def test_a_receiver_that_is_gone_is_not_asked_again() -> None:
    assert judge(410, None).final
    assert delay_s(DELAYS_S, 1, judge(410, None)) is None


def test_attempts_are_spread_over_most_of_a_day_and_then_end() -> None:
    for attempt, wanted in enumerate(DELAYS_S, start=1):
        found = delay_s(DELAYS_S, attempt, FAILED)
        assert found is not None
        assert wanted <= found <= wanted * (1 + JITTER)
    assert delay_s(DELAYS_S, len(DELAYS_S) + 1, FAILED) is None
    assert sum(DELAYS_S) == pytest.approx(17.7 * 3600, rel=0.01)


def test_delays_differ_so_that_what_failed_together_does_not_come_back_together() -> None:
    assert len({delay_s(DELAYS_S, 3, FAILED) for _ in range(20)}) == 20


@pytest.mark.parametrize(("status", "asked", "wanted"), [(429, 90, 90), (503, 90, 90), (500, 90, 0), (429, 9e9, 3600)])
def test_a_receiver_can_ask_for_time_up_to_an_hour(status: int, asked: float, wanted: float) -> None:
    outcome = judge(status, asked)
    assert outcome.retry_after_s == wanted
    found = delay_s(DELAYS_S, 1, outcome)
    assert found is not None
    assert max(wanted, DELAYS_S[0]) <= found <= max(wanted, DELAYS_S[0]) * (1 + JITTER)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("9" * 5000, 999_999_999),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("Thu, 01 Jan 2026 12:01:00 -0000", None),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("\u0663", None),
    ],
)
def test_both_forms_of_retry_after_are_read(value: str, seconds: float | None) -> None:
    assert read_retry_after(value, NOW) == seconds


def test_a_claim_outlasts_the_longest_attempt() -> None:
    assert CLAIM_S > TOTAL_S + DRAIN_S
