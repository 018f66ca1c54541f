"""The time that something is at work, with calls that overlap."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from worker.monitoring import busy
from worker.monitoring.busy import Busy


class Clock:
    """A time that is set."""

    now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(busy, "time", clock)
    return clock


def test_idle_time_does_not_count_and_overlapping_calls_count_once(clock: Clock) -> None:
    told: list[float] = []
    device = Busy(told.append)
    clock.now += 50
    with device.at_work():
        clock.now += 2
        inside, leave = threading.Event(), threading.Event()

        def other() -> None:
            with device.at_work():
                inside.set()
                leave.wait(10)

        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
        clock.now += 3
        assert device.oldest_s == 5
    assert sum(told) == 5
    clock.now += 1
    assert device.oldest_s == 4, "the older call has ended"
    leave.set()
    thread.join(10)
    assert sum(told) == 6
    clock.now += 70
    assert device.oldest_s == 0
    with suppress(ValueError), device.at_work():
        clock.now += 1
        raise ValueError("left by an error")
    assert (sum(told), device.oldest_s) == (7, 0)
