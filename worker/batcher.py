"""Batches for the device: whatever waits is taken, up to the limit, the moment the device is free.

Work-conserving: a lone item waits for no window, and under load batches grow by themselves, because items gather
while the device works. A device of several parts, like the cores of a CPU, is given the next batch when the first of
them has no more to do, while the others end the one before. Who comes first is the line's business (worker/line.py).
Knows neither torch nor Celery nor what the items are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Generic, TypeVar

import structlog

from worker.line import Line

log = structlog.get_logger(__name__)

Item = TypeVar("Item")

ABREAST = 2
"""Batches under way at most: one that ends, and the next."""


class Batcher(Generic[Item]):
    """Threads that run batches, one at a time, fed from any thread.

    Args:
        run: called with each batch on one of the batcher's threads; it must not raise. Its other argument it may call,
            from any thread and more than once, to let the next batch begin before it returns.
        max_batch: most items in a batch.
        wait_s: seconds that a batch that is not full waits for more items.
    """

    def __init__(
        self, run: Callable[[list[Item], Callable[[], None]], None], *, max_batch: int, wait_s: float = 0.0
    ) -> None:
        self._run = run
        self._line: Line[Item] = Line(most=max_batch, wait_s=wait_s)
        self._changed = threading.Condition()
        self._closing = False
        self._turns = 0
        self._occupied = 0
        """Number of the turn that has the device; 0 while it is free."""
        self.has_broken = False
        """Whether a thread has ended of an error: what was in line stays there."""
        self._threads = [
            threading.Thread(target=self._loop, name=f"device-{number}", daemon=True) for number in range(ABREAST)
        ]

    def __len__(self) -> int:
        """Return how many items wait."""
        with self._changed:
            return len(self._line)

    def start(self) -> None:
        """Begin to run batches."""
        for thread in self._threads:
            thread.start()

    def submit(self, items: Iterable[Item], *, job: str = "", tenant: str = "", urgency: int = 0) -> None:
        """Put items of a job, of a tenant if it is anybody's, in line, in order; returns at once.

        Raises:
            RuntimeError: after :meth:`close`.
        """
        with self._changed:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            self._line.put(items, job=job, tenant=tenant, urgency=urgency, now=time.monotonic())
            self._changed.notify()

    def close(self, timeout_s: float | None = None) -> bool:
        """Take no more items, run those in line, and return when the last batch has ended, or False if not in time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _take(self) -> tuple[int, list[Item]]:
        """Wait for the device and for what is to be done; returns a turn and its batch, empty once all is done."""
        with self._changed:
            while self._occupied or not self._closing:
                due_in = None if self._occupied else self._line.due_in(time.monotonic())
                if due_in == 0:
                    break
                self._changed.wait(due_in)
            batch = [] if self.has_broken else self._line.take()
            if batch:
                self._turns += 1
                self._occupied = self._turns
            return self._turns, batch

    def _free(self, turn: int) -> None:
        """End a turn, unless it has ended."""
        with self._changed:
            if self._occupied == turn:
                self._occupied = 0
                self._changed.notify()

    def _loop(self) -> None:
        try:
            while True:
                turn, batch = self._take()
                if not batch:
                    return
                try:
                    self._run(batch, partial(self._free, turn))
                finally:
                    self._free(turn)
                del batch  # it would keep its items alive while the next is waited for
        except BaseException:
            with self._changed:
                self.has_broken = self._closing = True
                self._changed.notify_all()
            log.exception("the device thread has ended", action="device_broken")
