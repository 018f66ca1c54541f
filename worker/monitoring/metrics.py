"""What a worker counts, for Prometheus: served as text on SEEDMILL_METRICS_PORT.

Names are those that docs/monitoring.md lists and the dashboard in deploy/grafana/ shows. No label has values that come
from outside. What is the queue's own, and so the same for all workers, is read from Redis every few seconds
(worker/duties.py), so that nobody who reads the metrics waits for Redis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from producer.contract import PRIORITIES, SeedStatus
from producer.queue import QueueStatus
from worker.errors import SetupError

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
for collector in (ProcessCollector, PlatformCollector, GCCollector):
    collector(registry=REGISTRY)

STAGES = ("queue", "generate", "encode", "put_image", "put_metadata")
CHUNK_OUTCOMES = ("finished", "given_back", "dropped", "refused")
RETRIED = ("death", "delivery", "batch", "redis", "storage")
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def _counter(name: str, help_: str, label: str = "", values: tuple[str, ...] = ()) -> Counter:
    """Return a counter that is there from the start, at 0 for each value of its label."""
    counter = Counter(f"seedmill_{name}", help_, [label] if label else [], registry=REGISTRY)
    for value in values:
        counter.labels(value)
    return counter


def _gauge(name: str, help_: str, *labels: str) -> Gauge:
    return Gauge(f"seedmill_{name}", help_, labels, registry=REGISTRY)


# What this worker did.
SEEDS = _counter("seeds", "Seeds whose fate was recorded.", "outcome", (*SeedStatus, "canceled"))
CACHED = _counter("seeds_cached", "Seeds answered from what is published, without the device.")
COALESCED = _counter("seeds_coalesced", "Seeds that joined the same seed, which was on its way already.")
CHUNKS = _counter("chunks", "Messages by what became of them here.", "outcome", CHUNK_OUTCOMES)
RETRIES = _counter(
    "retries", "What was tried again: chunks after a death, chunks given back, parts of batches, calls.", "of", RETRIED
)
DEAD_LETTERS = _counter("dead_letters_written", "Dead letters that this worker has written.")
BATCH_SEEDS = Histogram(
    "seedmill_batch_seeds",
    "Seeds in a batch of the device.",
    buckets=BATCH_SIZES,
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "seedmill_stage_seconds",
    "Seconds of a seed in each stage: until the device is free, in its batch, encoding, and the two uploads.",
    ["stage"],
    buckets=SECONDS,
    registry=REGISTRY,
)
_stages = {f"{stage}_ms": STAGE_SECONDS.labels(stage) for stage in STAGES}
SEED_SECONDS = Histogram(
    "seedmill_seed_seconds",
    "Seconds of a seed in the worker, until it is published.",
    buckets=(*SECONDS, 120, 300),
    registry=REGISTRY,
)
DEVICE_BUSY = _counter("device_busy_seconds", "Seconds that the model was at work.")

# What is so now.
INFO = _gauge("worker_info", "1; the labels describe the worker.", "version", "model_id", "device", "precision")
READY = _gauge("worker_ready", "1 while the worker takes messages, 0 before and after.")
HELD_MESSAGES = _gauge("in_flight_messages", "Messages that this worker has taken and not finished.")
HELD_SEEDS = _gauge("in_flight_seeds", "Seeds in these messages.")
LINE_SEEDS = _gauge("line_seeds", "Seeds that wait in this worker for the device.")
DEVICE_MEMORY = _gauge("device_memory_bytes", "Memory of the GPU; on a CPU of the process, and its limit.", "kind")

# What is so now in Redis, and the same for all workers.
REDIS_UP = _gauge("redis_up", "1 if Redis answered and took writes when it was last asked.")
QUEUE_MESSAGES = _gauge("queue_messages", "Messages that wait, those of a job's ticket included.", "priority")
QUEUE_HELD = _gauge("queue_held_messages", "Messages that workers hold.")
WORKERS = _gauge("workers", "Workers that live.")
ACTIVE_JOBS = _gauge("jobs_active", "Jobs that have not ended.")
OLDEST_JOB = _gauge("oldest_job_age_seconds", "Age of the oldest job that has not ended; 0 if there is none.")
DEAD_NOW = _gauge("dead_letters", "Dead letters that are kept.")
QUEUE_NAMES = ("queue",)
OF_QUEUES = {
    "waiting": _gauge("queue_waiting_messages", "Messages that wait in a queue.", *QUEUE_NAMES),
    "held": _gauge("queue_in_flight_messages", "Messages of a queue that workers hold.", *QUEUE_NAMES),
    "backlog": _gauge("queue_backlog_seeds", "Seeds of a queue that have not ended.", *QUEUE_NAMES),
    "workers": _gauge("queue_workers", "Workers of a queue that live.", *QUEUE_NAMES),
}
OF_REDIS = (QUEUE_HELD, WORKERS, ACTIVE_JOBS, OLDEST_JOB, DEAD_NOW)


def count_stages(timings: Mapping[str, float], total_s: float) -> None:
    """Count a published seed: milliseconds by stage, as its result has them, and seconds in all."""
    for stage, histogram in _stages.items():
        if (spent := timings.get(stage)) is not None:
            histogram.observe(spent / 1000)
    SEED_SECONDS.observe(total_s)


def count_chunk(succeeded: int, failed: int, canceled: int, cached: int) -> None:
    """Count a chunk that has been recorded, by seeds."""
    CHUNKS.labels("finished").inc()
    for outcome, seeds in ((SeedStatus.SUCCEEDED, succeeded), (SeedStatus.FAILED, failed), ("canceled", canceled)):
        SEEDS.labels(outcome).inc(seeds)
    CACHED.inc(cached)


def show_queue(status: QueueStatus | None) -> None:
    """Show the queue as it is in Redis; ``None``: Redis does not answer, so nobody knows."""
    REDIS_UP.set(status is not None)
    lanes = status.lanes if status else [math.nan] * len(PRIORITIES)
    for priority, messages in zip(PRIORITIES, lanes, strict=True):
        QUEUE_MESSAGES.labels(priority).set(messages)
    values: tuple[float, ...] = (math.nan,) * len(OF_REDIS)
    if status:
        oldest = status.oldest_job_s or 0.0
        values = (status.held, len(status.workers), status.active_jobs, oldest, status.dead_letters)
    for gauge, value in zip(OF_REDIS, values, strict=True):
        gauge.set(value)
    for name, gauge in OF_QUEUES.items():
        gauge.clear()
        for queue, figures in status.queues.items() if status else ():
            gauge.labels(queue).set(getattr(figures, name))


show_queue(None)
REDIS_UP.set(math.nan)  # nobody has asked yet


def show_device_memory(used: Callable[[], float], limit: Callable[[], float]) -> None:
    """Ask these two for the bytes of the device whenever somebody reads the metrics."""

    def or_nan(read: Callable[[], float]) -> float:
        try:
            return read()
        except Exception:  # a device that fails must not take all other metrics with it
            return math.nan

    DEVICE_MEMORY.labels("used").set_function(lambda: or_nan(used))
    DEVICE_MEMORY.labels("limit").set_function(lambda: or_nan(limit))


def serve(host: str, port: int) -> WSGIServer:
    """Serve the metrics, on threads of its own, until it is shut down; port 0 is any that is free.

    Raises:
        SetupError: the address cannot be listened on.
    """
    try:
        server, _ = start_http_server(port, host, registry=REGISTRY)
    except (OSError, OverflowError, ValueError) as error:  # a ValueError for a name that is none
        raise SetupError(
            f"the metrics cannot be served on {host}:{port} ({error}): "
            "choose another SEEDMILL_METRICS_PORT or SEEDMILL_METRICS_HOST, or set the port to 0 for none"
        ) from error
    return server
