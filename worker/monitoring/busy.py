"""How long something is at work: the oldest call of those under way, and the time that any was, all in all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Busy:
    """A clock of calls that may overlap; safe to use from many threads.

    Args:
        count: called with the seconds that something was at work since it was called last.
    """

    def __init__(self, count: Callable[[float], object]) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._since: dict[int, float] = {}
        self._told = 0.0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count what is inside as at work; one at a time in each thread."""
        with self._lock:
            self._tell()
            self._since[threading.get_ident()] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._tell()
                del self._since[threading.get_ident()]

    @property
    def oldest_s(self) -> float:
        """Seconds since the oldest call began that is under way; 0 if there is none."""
        now = time.monotonic()
        with self._lock:
            return now - min(self._since.values(), default=now)

    def _tell(self) -> None:
        now = time.monotonic()
        if self._since:
            self._count(now - self._told)
        self._told = now
