"""Behind Sentinel a replica takes the primary's place: jobs are done afterwards, and what workers do beside goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from producer import AsyncClient, Client
from producer.client import Job
from producer.contract import JobStatus, job_key
from producer.errors import JobNotFound, QueueUnreachable
from tests.torture.bench import wait_until
from tests.torture.failover import WatchedBench, plain, running_watched_bench
from tests.torture.stand_in import Plan

Fresh = Callable[[int], range]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedBench]:
    with running_watched_bench(tmp_path) as running:
        yield running


def done_of(job: Job) -> int:
    """Return how many seeds are done; none while there is no primary."""
    try:
        return job.refresh().counts.done
    except QueueUnreachable:
        return 0


def begin(client: Client, seeds: range) -> Job:
    """Return a job of which the first seeds are done."""
    job = client.submit(seeds)
    wait_until(lambda: job.refresh().counts.done >= 20, "a beginning")
    return job


def is_known(client: Client, job_id: str) -> bool:
    """Return whether a client is told of the job."""
    try:
        return bool(client.get(job_id))
    except JobNotFound:
        return False


async def status_of(url: str, job_id: str) -> JobStatus:
    async with AsyncClient(url) as client:
        return (await client.get(job_id)).status


def test_a_job_is_done_although_the_primary_is_killed(watched: WatchedBench, seeds: Fresh) -> None:
    worker = watched.worker(Plan(ms_per_seed=10))
    job = begin(watched.client, seeds(200))
    old = watched.primary_port()
    watched.kill_valkey()
    wait_until(lambda: watched.primary_port() != old, "another primary")
    wait_until(lambda: done_of(job) > 64, "work again")
    watched.check(job)
    assert worker.exit_status is None
    assert asyncio.run(status_of(watched.redis_url, job.id)) is JobStatus.SUCCEEDED


@pytest.mark.slow
def test_an_old_primary_that_lives_is_left_before_sentinel_says_so_to_it(watched: WatchedBench, seeds: Fresh) -> None:
    """Sentinel lets it be a primary for ten seconds more, and all that it takes meanwhile is forgotten."""
    first, second = (watched.worker(Plan(ms_per_seed=10), SEEDMILL_LEASE_S="5") for _ in range(2))
    begin(watched.client, seeds(600))
    old = watched.primary_port()
    watched.fail_over()
    wait_until(lambda: watched.primary_port() != old, "another primary")
    with Client(watched.redis_url, chunk_size=4) as late:
        job = begin(late, seeds(600))
    wait_until(lambda: is_known(watched.client, job.id), "a client of the first hour that finds it")
    with plain(watched.valkey) as client, plain(watched.replica) as other:
        role: Any = client.role()
        assert role[0] == "master"
        assert (client.exists(job_key(job.id)), other.exists(job_key(job.id))) == (0, 1)
    watched.redelivered_s(watched.kill(second))
    watched.check(watched.client.get(job.id))
    assert first.exit_status is None
