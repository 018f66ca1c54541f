"""What Prometheus reads of one process of the API. What waits in the queue, workers tell (worker/monitoring).

How many seeds wait is told here as well, since there may be no worker, and their number may depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from producer.api.webhooks.delivery import DELIVERIES

disable_created_metrics()  # type: ignore[no-untyped-call]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class BacklogOfQueues(Collector):
    """Seeds that have not ended, by queue; a queue that nobody knows any more is told no more."""

    def __init__(self, backlog: Callable[[], Mapping[str, float]]) -> None:
        self._backlog = backlog

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the one gauge."""
        gauge = GaugeMetricFamily(
            "seedmill_api_backlog_seeds", "Seeds of a queue that have not ended.", labels=["queue"]
        )
        for queue, seeds in self._backlog().items():
            gauge.add_metric([queue], seeds)
        yield gauge


class Metrics:
    """The numbers of one app.

    Args:
        waiting: tells how many callers wait for a job.
        backlog: tells how many seeds of each queue have not ended; NaN where nobody knows.
    """

    def __init__(self, waiting: Callable[[], int], backlog: Callable[[], Mapping[str, float]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "seedmill_api_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "seedmill_api_request_seconds",
            "Time until the end of the answer; a stream, or one who waits for a job, takes as long as asked for.",
            ("route", "method"),
            registry=self._registry,
            buckets=BUCKETS,
        )
        self.refused = Counter(
            "seedmill_api_refused", "Jobs that the queue had no room for.", ("reason",), registry=self._registry
        )
        for reason in ("queue-full", "share-full"):
            self.refused.labels(reason)  # there from the start, so that the first refusal counts as an increase
        self.streams = Gauge("seedmill_api_streams", "Streams of events that are open.", registry=self._registry)
        waiters = Gauge("seedmill_api_waiters", "Callers who wait for a job, streams too.", registry=self._registry)
        waiters.set_function(waiting)
        self._registry.register(BacklogOfQueues(backlog))
        self._registry.register(DELIVERIES)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route, method).observe(seconds)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)
