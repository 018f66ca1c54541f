"""Who waits for whom at a real worker: nobody for a job that is larger, and urgent seeds for at most two batches."""

from __future__ import annotations

import time

from celery import Celery

from producer import Client
from tests.benchmarks.measure import cpu_s
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


def test_a_worker_with_its_hands_full_answers_remote_control_and_does_not_spin(own_bench: Bench) -> None:
    """kombu leaves what is published unread while no message is taken, and its loop spins over it."""
    worker = own_bench.worker(Plan(ms_per_seed=500.0))
    app = Celery(broker=own_bench.endpoints.redis_url, set_as_current=False)
    with Client(own_bench.endpoints.redis_url) as client:
        bulk = client.submit(range(1000), priority="bulk")
        wait_until(lambda: own_bench.held_by(worker) == 4, "four batches in hand")
        time.sleep(0.5)
        assert len(app.control.ping(timeout=3)) == 1
        before = cpu_s([worker.pid])
        time.sleep(2)
        assert cpu_s([worker.pid]) - before < 1.0, "of two seconds"
        bulk.cancel()
    app.close()
