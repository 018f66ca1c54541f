"""When to poll next: soon at first, then as seldom as the wait allows, and often again when the job is about to end.

Pure arithmetic; the clients sleep.
"""

from __future__ import annotations

from producer.job import JobView

POLL_FIRST_S = 0.001
"""Shortest time between two polls."""

POLL_MAX_S = 0.5
"""Longest time between two polls."""

BEFORE = 0.5
"""Part of the time to the end that is foreseen after which to look again."""

AFTER = 1 / 16
"""Part of the time since the end that was foreseen after which to look again: a wait is hardly longer than its job."""


class Pace:
    """The seconds between the polls of one wait.

    The end of a job is foreseen when more of its seeds are seen to have ended; until then, it may end at once.

    Args:
        now: seconds, of any clock that does not run backwards.
    """

    def __init__(self, now: float) -> None:
        self._end = self._polled = now
        self._done = 0

    def delay(self, job: JobView, now: float) -> float:
        """Return the seconds until the next poll, from what the last one gave."""
        if job.counts.done != self._done and job.eta_s is not None:
            self._done, self._end = job.counts.done, self._polled + job.eta_s  # they may have ended right after that
        self._polled = now
        left = self._end - now
        return min(POLL_MAX_S, max(POLL_FIRST_S, left * BEFORE if left > 0 else -left * AFTER))
