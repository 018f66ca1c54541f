"""What a worker says of its own work: the numbers of the metrics, in few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.monitoring import metrics
from worker.monitoring.tally import tally


def gained(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {size: times - before.get(size, 0) for size, times in after.items() if times > before.get(size, 0)}


def test_each_batch_counts_under_the_power_of_two_that_holds_it() -> None:
    before: dict[str, Any] = tally()["batches"]
    for seeds in (1, 2, 3, 4, 4, 5, 32, 33, 1024):
        metrics.BATCH_SEEDS.observe(seeds)
    assert gained(before, tally()["batches"]) == {"1": 1, "2": 1, "4": 3, "8": 1, "32": 1, "64": 1, "1024": 1}


def test_seeds_are_those_that_were_published() -> None:
    before = tally()
    metrics.count_chunk(succeeded=5, failed=2, canceled=3, cached=1)
    after = tally()
    assert (after["seeds"] - before["seeds"], after["cached"] - before["cached"]) == (5, 1)
