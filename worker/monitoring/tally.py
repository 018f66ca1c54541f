"""What a worker says of its own work in each heartbeat: read from the metrics, so that nothing is counted twice.

For whoever looks at the queue without Prometheus; all of it is since the start of the process.
"""

from __future__ import annotations

from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from producer.contract import SeedStatus
from worker.monitoring import metrics


def tally() -> dict[str, Any]:
    """Return the seeds that were published, how many of them were published before, and batches by size.

    A batch counts under the least power of two that is not below its number of seeds; sizes without one are left out.
    """
    return {
        "seeds": sum(_samples(metrics.SEEDS, "seedmill_seeds_total", outcome=SeedStatus.SUCCEEDED)),
        "cached": sum(_samples(metrics.CACHED, "seedmill_seeds_cached_total")),
        "batches": _batches(),
    }


def _batches() -> dict[str, int]:
    """Return the buckets of the histogram, each without those below it, which it includes."""
    up_to = _samples(metrics.BATCH_SEEDS, "seedmill_batch_seeds_bucket")[: len(metrics.BATCH_SIZES)]
    sizes = zip(metrics.BATCH_SIZES, up_to, (0, *up_to[:-1]), strict=True)
    return {str(size): most - below for size, most, below in sizes if most > below}


def _samples(metric: MetricWrapperBase, name: str, **labels: str) -> list[int]:
    """Return the values of a metric that have these labels."""
    samples = [sample for family in metric.collect() for sample in family.samples]
    return [int(one.value) for one in samples if one.name == name and labels.items() <= one.labels.items()]
