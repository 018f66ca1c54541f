"""When to poll next: the later the longer it has lasted, and often again when the job is about to end.

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

SHARE = 1 / 16
"""Part of the wait so far, or of the time since the end that was foreseen, after which to look again.

So a wait is at most a sixteenth longer than its job; a lone seed that takes 40 ms is polled 30 times, and what takes a
second 80 times.
"""


class Pace:
    """The seconds between the polls of one wait.

    The end of a job is foreseen when the number of its seeds that have ended is seen to change; until then, it may
    end at once.

    Args:
        now: seconds, of any clock that does not run backwards.
    """

    def __init__(self, now: float) -> None:
        self._started = self._polled = self._end = now
        self._done = 0

    def delay(self, job: JobView, now: float) -> float:
        """Return the seconds until the next poll, from what the last one gave."""
        if job.counts.done != self._done:
            self._done, self._end = job.counts.done, self._polled + (job.eta_s or 0.0)  # they ended after that poll
        self._polled = now
        left = self._end - now
        foreseen = left * BEFORE if left > 0 else -left * SHARE
        return min(POLL_MAX_S, max(POLL_FIRST_S, min(foreseen, (now - self._started) * SHARE)))
