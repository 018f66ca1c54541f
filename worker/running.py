"""The orders at work in this process, and the deliveries that they belong to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.order import Order
from worker.results import Delivery


class Running:
    """A register of orders; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: dict[Order, Delivery] = {}

    @contextmanager
    def order(self, delivery: Delivery) -> Iterator[Order]:
        """Yield a new order for that delivery; inside, it can be cancelled."""
        order = Order()
        with self._lock:
            self._orders[order] = delivery
        try:
            yield order
        finally:
            with self._lock:
                del self._orders[order]

    def deliveries(self) -> list[Delivery]:
        """Return the deliveries that are at work."""
        with self._lock:
            return list(self._orders.values())

    def jobs(self) -> list[str]:
        """Return the jobs that have orders at work."""
        return sorted({delivery.message.job_id for delivery in self.deliveries()})

    def cancel(self, job_id: str) -> None:
        """Let go of the orders of that job."""
        with self._lock:
            orders = [order for order, delivery in self._orders.items() if delivery.message.job_id == job_id]
        for order in orders:
            order.cancel()
