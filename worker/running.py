"""What is at work in this process: deliveries, and the orders of their jobs that can be let go of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.order import Order
from worker.results import Delivery


class Running:
    """A register; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deliveries: set[Delivery] = set()
        self._orders: set[Order] = set()

    @contextmanager
    def delivery(self, delivery: Delivery) -> Iterator[None]:
        """Count a delivery as at work inside."""
        with self._lock:
            self._deliveries.add(delivery)
        try:
            yield
        finally:
            with self._lock:
                self._deliveries.discard(delivery)

    @contextmanager
    def order(self, delivery: Delivery) -> Iterator[Order]:
        """Yield a new order of its job; inside, it can be cancelled."""
        message = delivery.message
        order = Order(message.job_id, urgency=message.priority.number)
        with self._lock:
            self._orders.add(order)
        try:
            yield order
        finally:
            with self._lock:
                self._orders.discard(order)
            order.close()

    def deliveries(self) -> list[Delivery]:
        """Return the deliveries that are at work."""
        with self._lock:
            return list(self._deliveries)

    def jobs(self) -> list[str]:
        """Return the jobs that have orders at work."""
        with self._lock:
            return sorted({order.job for order in self._orders})

    def cancel(self, job_id: str) -> None:
        """Let go of the orders of that job."""
        with self._lock:
            orders = [order for order in self._orders if order.job == job_id]
        for order in orders:
            order.cancel()
