"""Manifests: due in the step that ends a job, written by one worker, by another if that one dies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from producer import Client, records
from producer.connection import connect
from producer.contract import MANIFESTS_KEY, Priority, SeedStatus, held_key, job_key, manifest_key, result_key
from producer.message import ChunkMessage, SeedResult, encode_celery_result
from producer.records import Claim
from tests.support import messages_of
from worker import manifest
from worker.errors import StorageUnreachable
from worker.local.stack import Endpoints
from worker.manifest import ManifestWriter
from worker.results import Delivery, Recorder
from worker.storage import ObjectStore

HELD = held_key("w")


class Bench:
    """A job's life without a worker."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = Client(url, chunk_size=2)
        self.redis: Any = connect(url)
        self.recorder = Recorder(connect(url), url, ttl_s=3600, held=HELD)

    def end(self, job_id: str, seeds: tuple[int, ...], *, failed: tuple[int, ...] = ()) -> list[SeedResult]:
        """Submit a job, and end all of its chunks."""
        self.client.submit(seeds, job_id=job_id)
        results = []
        for message in messages_of(job_id, seeds, 2, Priority.BULK):
            results += self.finish(message, failed=failed)
        return results

    def finish(self, message: ChunkMessage, *, failed: tuple[int, ...] = ()) -> list[SeedResult]:
        """End a chunk."""
        self.redis.hset(HELD, "1", "0message")
        delivery = Delivery(message, "1")
        self.recorder.start(delivery, alone=True)
        results = [
            SeedResult.failure(seed, ValueError("odd"))
            if seed in failed
            else SeedResult(seed, SeedStatus.SUCCEEDED, caption=f"море {seed}", timings={"total_ms": time.time()})
            for seed in message.seeds
        ]
        self.recorder.finish(delivery, results, 1)
        return results

    def due(self) -> list[str]:
        return list(self.redis.zrange(MANIFESTS_KEY, 0, -1))


@pytest.fixture
def bench(quiet: Endpoints) -> Iterator[Bench]:
    made = Bench(quiet.redis_url)
    yield made
    made.client.close()
    made.redis.close()
    made.recorder.close()


def read(store: ObjectStore, job_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.get(manifest_key(job_id)).splitlines()]


def test_a_job_that_has_ended_gets_a_line_per_seed_in_order(bench: Bench, store: ObjectStore) -> None:
    bench.end("m1", (5, 3, 3, 9, 7), failed=(9,))
    assert ManifestWriter(bench.client, store).write_due() == 1
    lines = read(store, "m1")
    assert [(line["seed"], line["status"]) for line in lines] == [
        *((5, "succeeded"), (3, "succeeded"), (3, "succeeded"), (9, "failed"), (7, "succeeded"))
    ]
    assert lines[0]["caption"] == "море 5"
    assert lines[3]["error"] == {"type": "ValueError", "message": "odd"}
    assert not any("timings" in line for line in lines)
    assert bench.due() == []
    assert bench.redis.hget(job_key("m1"), "manifest_uri") == store.uri(manifest_key("m1"))


def test_a_job_of_one_seed_has_its_metadata_and_no_manifest(bench: Bench) -> None:
    bench.end("m2", (5,))
    assert bench.due() == []


def test_what_a_worker_that_died_has_begun_another_writes_later(bench: Bench, store: ObjectStore) -> None:
    bench.end("m3", (1, 2))
    first = Claim.parse(bench.client._run(records.claim_manifest(0.2)))
    assert first is not None
    assert ManifestWriter(bench.client, store).write_due() == 0, "it is the other's"
    time.sleep(0.3)
    assert ManifestWriter(bench.client, store).write_due() == 1
    assert bench.client._run(records.settle_manifest(first, uri="s3://late")) == 0
    assert bench.redis.hget(job_key("m3"), "manifest_uri") == store.uri(manifest_key("m3"))


def test_a_job_that_runs_again_has_no_manifest_until_it_has_ended(bench: Bench, store: ObjectStore) -> None:
    bench.end("m8", (1, 2, 3, 4), failed=(3,))
    assert ManifestWriter(bench.client, store).write_due() == 1
    bench.client.replay("m8.1")
    assert bench.client.get("m8").manifest_uri is None
    bench.redis.zadd(MANIFESTS_KEY, {"m8": 1})  # as a writer does that has been overtaken
    assert ManifestWriter(bench.client, store).write_due() == 0
    assert bench.due() == []
    bench.finish(messages_of("m8", (1, 2, 3, 4), 2, Priority.BULK)[1])
    assert ManifestWriter(bench.client, store).write_due() == 1
    assert {line["status"] for line in read(store, "m8")} == {"succeeded"}


def test_a_writer_that_was_overtaken_has_the_manifest_written_again(bench: Bench) -> None:
    bench.end("m9", (1, 2))
    slow = Claim.parse(bench.client._run(records.claim_manifest(60)))
    assert slow is not None
    bench.redis.zadd(MANIFESTS_KEY, {"m9": 1})
    quick = Claim.parse(bench.client._run(records.claim_manifest(61)))
    assert quick is not None
    assert bench.client._run(records.settle_manifest(quick, uri="s3://new")) == 1
    assert bench.client._run(records.settle_manifest(slow, uri="s3://old")) == 0
    assert bench.due() == ["m9"], "it may have written over the newer one"


def test_a_claim_is_kept_while_its_writer_goes_on(
    bench: Bench, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "CLAIM_S", 0.4)
    others: list[int] = []

    class Slow:
        def put_file(self, *_: object, progress: Any) -> None:
            for _step in range(10):
                time.sleep(0.1)
                progress(1)
                others.append(ManifestWriter(bench.client, store).write_due())

        def uri(self, key: str) -> str:
            return key

    slow: Any = Slow()
    bench.end("m10", (1, 2))
    assert ManifestWriter(bench.client, slow).write_due() == 1
    assert others == [0] * 10


def test_a_worker_that_stops_leaves_what_it_writes_to_others(bench: Bench) -> None:
    class Large:
        def put_file(self, *_: object, progress: Any) -> None:
            writer.stop()
            progress(1)
            raise AssertionError("it goes on")

        def uri(self, key: str) -> str:
            return key

    large: Any = Large()
    writer = ManifestWriter(bench.client, large)
    bench.end("m11", (1, 2))
    bench.end("m12", (1, 2))
    assert writer.write_due() == 0
    assert sorted(bench.due()) == ["m11", "m12"], "one is claimed, and one not begun"


def test_a_job_that_ends_again_while_its_manifest_is_written_gets_another(bench: Bench) -> None:
    bench.end("m4", (1, 2))
    claim = Claim.parse(bench.client._run(records.claim_manifest(60)))
    assert claim is not None
    bench.redis.zadd(MANIFESTS_KEY, {"m4": 1})  # as the end of a replay does
    assert bench.client._run(records.settle_manifest(claim, uri="s3://old")) == 0
    assert bench.due() == ["m4"]


def test_a_manifest_that_cannot_be_written_stays_due_and_holds_up_no_other(bench: Bench, store: ObjectStore) -> None:
    class Away:
        def put_file(self, *_: object, **__: object) -> None:
            raise StorageUnreachable("away")

        def uri(self, key: str) -> str:
            return key

    bench.end("m5", (1, 2))
    bench.end("m5b", (1, 2))
    away: Any = Away()
    assert ManifestWriter(bench.client, away).write_due() == 0
    assert sorted(bench.due()) == ["m5", "m5b"]
    bench.end("m5c", (1, 2))
    assert ManifestWriter(bench.client, store).write_due() == 1, "while the others are claimed"


@pytest.mark.parametrize("key", [job_key("m6"), result_key("m6.1")])
def test_a_job_whose_results_are_gone_is_not_tried_for_ever(bench: Bench, store: ObjectStore, key: str) -> None:
    bench.end("m6", (1, 2, 3, 4))
    bench.redis.delete(key)
    assert ManifestWriter(bench.client, store).write_due() == 0
    assert bench.due() == []


def test_a_manifest_larger_than_memory_is_meant_for_is_written_in_parts(
    bench: Bench, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "SPOOL_BYTES", 1000)
    bench.end("m7", (1, 2))
    long = {"seeds": [SeedResult(7, SeedStatus.SUCCEEDED, caption="x" * 1000).to_dict()] * 12_000}
    bench.redis.set(result_key("m7"), encode_celery_result("m7", "SUCCESS", long))
    assert ManifestWriter(bench.client, store).write_due() == 1
    assert len(read(store, "m7")) == 12_000
