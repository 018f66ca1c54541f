"""Who comes next: what waits for the device, fair between jobs.

The more urgent comes first, and among the equally urgent each job in turn, one item at a time, so that none has to
wait for another to end. One batch of eight is filled from the other end, so that the less urgent do not starve. Pure
policy: it knows no threads, is told the time, and what the items are is nothing to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")

BACKWARDS_EVERY = 8
"""One batch of this many begins with the least urgent."""


class Line(Generic[Item]):
    """Items in line.

    Args:
        most: items in a batch at most.
        wait_s: seconds that a batch that is not full may wait for more, from when its oldest item entered.
    """

    def __init__(self, *, most: int, wait_s: float = 0.0) -> None:
        self._most = most
        self._wait_s = wait_s
        self._jobs: dict[int, dict[str, deque[tuple[float, Item]]]] = {}  # by urgency; within it, in turn
        self._length = 0
        self._batches = 0

    def __len__(self) -> int:
        return self._length

    def put(self, items: Iterable[Item], *, job: str, urgency: int, now: float) -> None:
        """Add items of a job to its end; the lower ``urgency``, the sooner."""
        entered = [(now, item) for item in items]
        if entered:
            self._jobs.setdefault(urgency, {}).setdefault(job, deque()).extend(entered)
            self._length += len(entered)

    def due_in(self, now: float) -> float | None:
        """Return the seconds until a batch is to be taken, 0 for at once; ``None`` if nothing waits."""
        if not self._length:
            return None
        if not self._wait_s or self._length >= self._most:
            return 0.0
        oldest = min(items[0][0] for jobs in self._jobs.values() for items in jobs.values())
        return max(0.0, oldest + self._wait_s - now)

    def take(self) -> list[Item]:
        """Take the next batch; empty if nothing waits."""
        if not self._length:
            return []
        self._batches += 1
        backwards = self._batches % BACKWARDS_EVERY == 0
        batch: list[Item] = []
        for urgency in sorted(self._jobs, reverse=backwards):
            self._take_in_turn(self._jobs[urgency], batch)
            if not self._jobs[urgency]:
                del self._jobs[urgency]
        self._length -= len(batch)
        return batch

    def _take_in_turn(self, jobs: dict[str, deque[tuple[float, Item]]], batch: list[Item]) -> None:
        while jobs and len(batch) < self._most:
            job = next(iter(jobs))
            items = jobs.pop(job)
            batch.append(items.popleft()[1])
            if items:
                jobs[job] = items  # at the end of those in turn
