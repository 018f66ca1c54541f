"""Who comes next: what waits for the device, fair between tenants and jobs.

The more urgent comes first, and among the equally urgent each tenant in turn and of it each job in turn, one item at a
time, so that none has to wait for another to end. A job of nobody's is a tenant by itself. One batch of eight is filled
from the other end, so that the less urgent do not starve. Pure policy: it knows no threads, is told the time, and what
the items are is nothing to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")

Jobs: TypeAlias = dict[str, deque[tuple[float, Item]]]
"""Items of each job with the time at which they entered, in turn."""

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
        self._tenants: dict[int, dict[str, Jobs[Item]]] = {}  # by urgency; within it, in turn
        self._length = 0
        self._batches = 0

    def __len__(self) -> int:
        return self._length

    def put(self, items: Iterable[Item], *, job: str, urgency: int, now: float, tenant: str = "") -> None:
        """Add items of a job, of a tenant if it is anybody's, to its end; the lower ``urgency``, the sooner."""
        entered = [(now, item) for item in items]
        if entered:
            whose = f"tenant {tenant}" if tenant else f"job {job}"
            self._tenants.setdefault(urgency, {}).setdefault(whose, {}).setdefault(job, deque()).extend(entered)
            self._length += len(entered)

    def due_in(self, now: float) -> float | None:
        """Return the seconds until a batch is to be taken, 0 for at once; ``None`` if nothing waits."""
        if not self._length:
            return None
        if not self._wait_s or self._length >= self._most:
            return 0.0
        tenants = [jobs for among in self._tenants.values() for jobs in among.values()]
        oldest = min(items[0][0] for jobs in tenants for items in jobs.values())
        return max(0.0, oldest + self._wait_s - now)

    def take(self) -> list[Item]:
        """Take the next batch; empty if nothing waits."""
        if not self._length:
            return []
        self._batches += 1
        backwards = self._batches % BACKWARDS_EVERY == 0
        batch: list[Item] = []
        for urgency in sorted(self._tenants, reverse=backwards):
            tenants = self._tenants[urgency]
            while tenants and len(batch) < self._most:
                batch.append(_next_of(tenants))
            if not tenants:
                del self._tenants[urgency]
        self._length -= len(batch)
        return batch


def _next_of(tenants: dict[str, Jobs[Item]]) -> Item:
    """Take the next item of the tenant and the job whose turn it is; both go to the end of those in turn."""
    tenant = next(iter(tenants))
    jobs = tenants.pop(tenant)
    job = next(iter(jobs))
    items = jobs.pop(job)
    _, item = items.popleft()
    if items:
        jobs[job] = items
    if jobs:
        tenants[tenant] = jobs
    return item
