"""Seeds that are published skip the device, and what the bucket has lost is computed again: a real worker and store."""

from __future__ import annotations

import json

import pytest

from producer import Client
from producer.contract import KNOWN_KEY_PREFIX, SeedStatus, image_key, manifest_key, metadata_key
from producer.message import SeedResult
from tests.support import delete_object
from tests.torture.bench import Bench, wait_until
from tests.torture.stand_in import MODEL_ID

SEEDS = range(5_000_000, 5_000_040)


@pytest.fixture
def bench(own_bench: Bench) -> Bench:
    own_bench.worker()
    return own_bench


def done(bench: Bench, seeds: range = SEEDS) -> list[SeedResult]:
    """Run a job and return its results, having checked all that is kept of it."""
    job = bench.client.submit(seeds)
    bench.check(job)
    return list(job.results())


def test_what_is_published_is_not_computed_again_until_the_bucket_has_lost_it(bench: Bench) -> None:
    first = done(bench)
    assert not any(result.cached for result in first)
    assert all(result.cached for result in done(bench))
    assert set(bench.computed_counts().values()) == {1}

    lost = {SEEDS[0]: image_key, SEEDS[11]: metadata_key}
    for seed, key in lost.items():
        delete_object(bench.store, key(MODEL_ID, seed))
    bench.store.put(image_key(MODEL_ID, SEEDS[20]), b"short", "image/png")
    again = done(bench)
    assert {result.seed for result in again if not result.cached} == {*lost, SEEDS[20]}
    assert [result.sha256 for result in again] == [result.sha256 for result in first]

    for key in bench.redis.scan_iter(KNOWN_KEY_PREFIX + "*"):
        bench.redis.delete(key)
    assert not any(result.cached for result in done(bench)), "an index that is lost costs the work, nothing else"


def test_what_is_published_is_computed_again_by_force(bench: Bench) -> None:
    first = done(bench)
    job = bench.client.submit(SEEDS, force=True)
    bench.check(job)
    again = list(job.results())
    assert not any(result.cached for result in again)
    assert [result.sha256 for result in again] == [result.sha256 for result in first]
    assert set(bench.computed_counts().values()) == {2}


def test_jobs_that_want_the_same_seeds_at_once_share_the_work(bench: Bench) -> None:
    with Client(bench.endpoints.redis_url, chunk_size=20) as client:
        jobs = [client.submit(SEEDS) for _ in range(4)]
        for job in jobs:
            bench.check(job)
    computed = bench.computed_counts()
    assert set(computed) == set(SEEDS)
    assert sum(computed.values()) <= 1.5 * len(SEEDS), "but for what was asked for just before it was recorded"


def test_the_bucket_gets_a_manifest_when_a_job_has_ended(bench: Bench) -> None:
    job = bench.client.submit(SEEDS, job_id="with-manifest").wait(60)
    wait_until(lambda: job.refresh().manifest_uri, "the manifest", 10)
    assert job.manifest_uri == bench.store.uri(manifest_key(job.id)) == job.to_dict()["manifest_uri"]
    lines = [json.loads(line) for line in bench.store.get(manifest_key(job.id)).splitlines()]
    assert [line["seed"] for line in lines] == list(SEEDS)
    assert {line["status"] for line in lines} == {str(SeedStatus.SUCCEEDED)}
    assert [line["sha256"] for line in lines] == [result.sha256 for result in job.results()]
