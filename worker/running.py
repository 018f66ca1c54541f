"""The orders at work in this process, by job, so that those of a cancelled job can be let go of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.order import Order


class Running:
    """A register of orders; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: dict[Order, str] = {}

    @contextmanager
    def order(self, job_id: str) -> Iterator[Order]:
        """Yield a new order of that job; inside, it can be cancelled."""
        order = Order()
        with self._lock:
            self._orders[order] = job_id
        try:
            yield order
        finally:
            with self._lock:
                del self._orders[order]

    def jobs(self) -> list[str]:
        """Return the jobs that have orders at work."""
        with self._lock:
            return sorted(set(self._orders.values()))

    def cancel(self, job_id: str) -> None:
        """Let go of the orders of that job."""
        with self._lock:
            orders = [order for order, job in self._orders.items() if job == job_id]
        for order in orders:
            order.cancel()
