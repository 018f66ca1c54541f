"""When to poll next: the later the longer it has lasted, and often again when the job is about to end.

Pure arithmetic; the clients sleep.
"""

from __future__ import annotations

import math

from producer.errors import JobTimeout, SettingsError
from producer.job import JobView

POLL_FIRST_S = 0.001
"""Shortest time between two polls."""

POLL_MAX_S = 0.5
"""Longest time between two polls."""

HOLD_WAIT_S = 30
"""Longest that a server which can do so holds an answer back for one who waits."""

HOLD_WATCH_S = 1
"""The same for one who watches, and wants to see what has changed meanwhile."""

HOLD_SLACK_S = 0.05
"""How much longer than its timeout a wait may last, so that one of a second can be held for a second."""

BEFORE = 0.5
"""Part of the time to the end that is foreseen after which to look again."""

SHARE = 1 / 16
"""Part of the wait so far, or of the time since the end that was foreseen, after which to look again.

So a wait is at most a sixteenth longer than its job; a lone seed that takes 40 ms is polled 30 times, and what takes a
second 80 times.
"""


class Pace:
    """The seconds between the polls of one wait, and how long the server may hold back the answer to each.

    The end of a job is foreseen when the number of its seeds that have ended is seen to change; until then, it may
    end at once.

    Args:
        now: seconds, of any clock that does not run backwards.
        timeout: seconds that the wait may last; ``None`` for ever.
        hold_s: most seconds that the server holds an answer until the job has ended; 0 where it answers at once.

    Raises:
        SettingsError: ``timeout`` is no number of seconds.
    """

    def __init__(self, now: float, timeout: float | None = None, *, hold_s: int = 0) -> None:
        if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
            raise SettingsError(f"timeout={timeout!r} is not a number of seconds from 0 on: None waits for ever")
        self._timeout = timeout
        self._started = self._polled = self._end = now
        self._done = 0
        self._hold_s = hold_s
        self._held_until = now

    def hold(self, now: float) -> int:
        """Return for how many whole seconds the server may hold the answer to the poll that is made now."""
        left_s = self._hold_s if self._timeout is None else self._timeout - (now - self._started)
        hold_s = max(0, min(self._hold_s, int(left_s + HOLD_SLACK_S)))
        self._held_until = now + hold_s if hold_s else math.inf
        return hold_s

    def left(self, now: float) -> float | None:
        """Return the seconds that the wait may still last; ``None`` for ever."""
        return None if self._timeout is None else max(0.0, self._timeout - (now - self._started))

    def check(self, job: JobView, now: float) -> None:
        """Raise JobTimeout if the wait has lasted as long as it may."""
        if self._timeout is not None and now - self._started >= self._timeout:
            raise JobTimeout(job, self._timeout)

    def delay(self, job: JobView, now: float) -> float:
        """Return the seconds until the next poll, from what the last one gave.

        Raises:
            JobTimeout: the wait has lasted as long as it may.
        """
        if job.counts.done != self._done:
            self._done, self._end = job.counts.done, self._polled + (job.eta_s or 0.0)  # they ended after that poll
        self._polled = now
        ahead = self._end - now
        foreseen = ahead * BEFORE if ahead > 0 else -ahead * SHARE
        waited = now - self._started
        delay = min(POLL_MAX_S, max(POLL_FIRST_S, min(foreseen, waited * SHARE)))
        if self._hold_s:  # else it has answered too soon
            delay = POLL_FIRST_S if now >= self._held_until else POLL_MAX_S
        self.check(job, now)
        left_s = self.left(now)
        return delay if left_s is None else min(delay, left_s)
