"""When to poll next: the later the longer it has lasted, and often again when the job is about to end.

Pure arithmetic; the clients sleep.
"""

from __future__ import annotations

from producer.errors import JobTimeout, SettingsError
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
        timeout: seconds that the wait may last; ``None`` for ever.

    Raises:
        SettingsError: ``timeout`` is no number of seconds.
    """

    def __init__(self, now: float, timeout: float | None = None) -> None:
        if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
            raise SettingsError(f"timeout={timeout!r} is not a number of seconds from 0 on: None waits for ever")
        self._timeout = timeout
        self._started = self._polled = self._end = now
        self._done = 0

    def delay(self, job: JobView, now: float) -> float:
        """Return the seconds until the next poll, from what the last one gave.

        Raises:
            JobTimeout: the wait has lasted as long as it may.
        """
        if job.counts.done != self._done:
            self._done, self._end = job.counts.done, self._polled + (job.eta_s or 0.0)  # they ended after that poll
        self._polled = now
        left = self._end - now
        foreseen = left * BEFORE if left > 0 else -left * SHARE
        waited = now - self._started
        delay = min(POLL_MAX_S, max(POLL_FIRST_S, min(foreseen, waited * SHARE)))
        if self._timeout is None:
            return delay
        if waited >= self._timeout:
            raise JobTimeout(job, self._timeout)
        return min(delay, self._timeout - waited)
