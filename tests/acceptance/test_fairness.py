"""Who waits for whom at a real worker: nobody for a job that is larger, and urgent seeds for at most two batches."""

from __future__ import annotations

from producer import Client
from tests.torture.bench import Bench, wait_until
from tests.torture.stand_in import Plan

BATCH = 32


def computed(bench: Bench) -> list[int]:
    """Return the seeds in the order in which they were computed."""
    return [int(line.split()[1]) for line in bench.computed.read_text().splitlines()] if bench.computed.exists() else []


def test_an_urgent_seed_waits_for_no_more_than_what_is_on_the_device(own_bench: Bench) -> None:
    own_bench.worker(Plan(ms_per_seed=10.0))
    with Client(own_bench.endpoints.redis_url) as client:
        bulk = client.submit(range(1000), priority="bulk")
        wait_until(lambda: len(computed(own_bench)) > 2 * BATCH, "the bulk job at work")
        before = len(computed(own_bench))
        urgent = client.submit(5000).wait(60)
        place = computed(own_bench).index(5000)
        assert place - before < 3 * BATCH, "the batch at work, one that was just taken, and its own"
        assert not bulk.refresh().status.is_terminal
        own_bench.check(urgent)
        bulk.cancel()


def test_jobs_of_one_priority_share_the_worker_whoever_came_first(own_bench: Bench) -> None:
    own_bench.worker(Plan(ms_per_seed=5.0))
    with Client(own_bench.endpoints.redis_url) as client:
        large = client.submit(range(2000), priority="bulk")
        wait_until(lambda: len(computed(own_bench)) > BATCH, "the large job at work")
        small = client.submit(range(5000, 5200), priority="bulk").wait(60)
        assert large.refresh().counts.done < 800, "it went on beside it, and not before it"
        own_bench.check(small)
        large.cancel()
