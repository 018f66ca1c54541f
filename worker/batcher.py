"""Batches for the device: whatever waits is taken, up to the limit, the moment the device is free.

Work-conserving: a lone item waits for no window, and under load batches grow by themselves, because items gather
while the device works. Who comes first is the line's business (worker/line.py). Knows neither torch nor Celery nor
what the items are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import structlog

from worker.line import Line

log = structlog.get_logger(__name__)

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """One thread that runs batches, fed from any thread.

    Args:
        run: called with each batch, on the batcher's thread; it must not raise.
        max_batch: most items in a batch.
        wait_s: seconds that a batch that is not full waits for more items.
    """

    def __init__(self, run: Callable[[list[Item]], None], *, max_batch: int, wait_s: float = 0.0) -> None:
        self._run = run
        self._line: Line[Item] = Line(most=max_batch, wait_s=wait_s)
        self._changed = threading.Condition()
        self._closing = False
        self.has_broken = False
        """Whether the thread has ended of an error: what was in line stays there."""
        self._thread = threading.Thread(target=self._loop, name="device", daemon=True)

    def __len__(self) -> int:
        """Return how many items wait."""
        with self._changed:
            return len(self._line)

    def start(self) -> None:
        """Begin to run batches."""
        self._thread.start()

    def submit(self, items: Iterable[Item], *, job: str = "", urgency: int = 0) -> None:
        """Put items of a job in line, in order; returns at once.

        Raises:
            RuntimeError: after :meth:`close`.
        """
        with self._changed:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            self._line.put(items, job=job, urgency=urgency, now=time.monotonic())
            self._changed.notify()

    def close(self, timeout_s: float | None = None) -> bool:
        """Take no more items, run those in line, and return when the last batch has ended, or False if not in time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _take(self) -> list[Item]:
        """Return the next batch; empty once closed and drained."""
        with self._changed:
            while not self._closing and (due_in := self._line.due_in(time.monotonic())) != 0:
                self._changed.wait(due_in)
            return self._line.take()

    def _loop(self) -> None:
        try:
            while batch := self._take():
                self._run(batch)
                del batch  # it would keep its items alive while the next is waited for
        except BaseException:
            self.has_broken = self._closing = True
            log.exception("the device thread has ended", action="device_broken")
