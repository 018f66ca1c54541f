"""Batches for the device: whatever waits is taken, up to the limit, the moment the device is free.

Work-conserving: a lone item waits for no window, and under load batches grow by themselves, because items gather
while the device works. Knows neither torch nor Celery nor what the items are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """One thread that runs batches, fed from any thread.

    Args:
        run: called with each batch, on the batcher's thread; it must not raise.
        max_batch: most items in a batch.
    """

    def __init__(self, run: Callable[[list[Item]], None], *, max_batch: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="device", daemon=True)

    def start(self) -> None:
        """Begin to run batches."""
        self._thread.start()

    def submit(self, items: Iterable[Item]) -> None:
        """Put items in line, in order; returns at once.

        Raises:
            RuntimeError: after :meth:`close`.
        """
        with self._changed:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            self._waiting.extend(items)
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
            while not self._waiting and not self._closing:
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]

    def _loop(self) -> None:
        while batch := self._take():
            self._run(batch)
