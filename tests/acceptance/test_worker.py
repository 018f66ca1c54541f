"""The main job on real parts: a real worker process, a real Valkey, a real S3 server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from PIL import Image

from producer import Client
from producer.contract import QUEUE, TASK_NAME, JobStatus, SeedStatus, image_key, metadata_key
from producer.job import Counts
from tests.support import delete_object, run_python
from tests.torture.bench import wait_until
from worker.local.process import Process
from worker.local.stack import Endpoints, Stack
from worker.storage import ObjectStore

TIMEOUT_S = 60


@pytest.fixture
def client(endpoints: Endpoints, worker: Process) -> Iterator[Client]:
    with Client(endpoints.redis_url) as client:
        yield client


@pytest.fixture
def celery(endpoints: Endpoints, worker: Process) -> Iterator[Celery]:
    app = Celery(broker=endpoints.redis_url, backend=endpoints.redis_url, set_as_current=False)
    yield app
    app.close()


def test_seeds_become_pictures_with_captions_in_the_bucket(client: Client, store: ObjectStore) -> None:
    job = client.submit([42, 7, 4294967295]).wait(TIMEOUT_S)
    assert job.counts == Counts(3, 0, 0, 3, 0, 0)
    results = list(job.results())
    assert [result.seed for result in results] == [42, 7, 4294967295]
    for result in results:
        assert result.model_id is not None
        png = store.get(image_key(result.model_id, result.seed))
        facts = json.loads(store.get(metadata_key(result.model_id, result.seed)))
        image = Image.open(io.BytesIO(png))
        image.load()
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (256, 256))
        assert hashlib.sha256(png).hexdigest() == result.sha256 == facts["image"]["sha256"]
        assert (len(png), 256, 256) == (result.bytes, result.width, result.height)
        assert facts["caption"] == result.caption == json.loads(image.info["seedmill"])["caption"]
        assert 5 <= len(str(result.caption).split()) <= 20
        assert result.image_uri == store.uri(image_key(result.model_id, result.seed))
        assert result.metadata_uri == store.uri(metadata_key(result.model_id, result.seed))


def test_generating_again_writes_the_same_bytes(client: Client, store: ObjectStore) -> None:
    def objects() -> list[bytes]:
        results = list(client.submit(range(5, 9), force=True).wait(TIMEOUT_S).results())
        keys = [key(str(r.model_id), r.seed) for r in results for key in (image_key, metadata_key)]
        found = [store.get(key) for key in keys]
        for key in keys:
            delete_object(store, key)
        return found

    assert objects() == objects()


def test_a_range_of_several_chunks_is_counted_exactly(client: Client) -> None:
    job = client.submit(range(1000, 1100))
    assert job.record.chunks == 4
    assert job.wait(TIMEOUT_S).counts == Counts(100, 0, 0, 100, 0, 0)
    assert [result.seed for result in job.results()] == list(range(1000, 1100))
    assert len({result.sha256 for result in job.results()}) == 100


def test_the_worker_is_seen_with_its_model(client: Client, worker: Process) -> None:
    (seen,) = [found for found in client.queue().workers if found["pid"] == worker.pid]
    assert seen["model_id"].startswith("demo-")
    assert (seen["device"], seen["trained"]) == ("cpu", True)


def test_the_worker_says_what_it_has_done(client: Client, worker: Process) -> None:
    def seen() -> dict[str, Any]:
        (found,) = [one for one in client.queue().workers if one["pid"] == worker.pid]
        return dict(found)

    before = seen()
    for force in (True, False):
        client.submit([5, 6], force=force).wait(TIMEOUT_S)
    wait_until(lambda: seen()["cached"] >= before["cached"] + 2, "a heartbeat with those that were published before")
    after = seen()
    assert after["seeds"] >= before["seeds"] + 4
    assert sum(after["batches"].values()) > sum(before["batches"].values())


def test_the_model_is_warm_before_the_first_message_is_taken(client: Client, worker: Process) -> None:
    client.submit(1).wait(TIMEOUT_S)
    actions = [json.loads(line)["action"] for line in worker.output().splitlines() if '"action"' in line]
    assert actions.index("model_ready") < actions.index("worker_ready") < actions.index("chunk_started")


def test_the_celery_result_of_a_chunk_lists_a_fate_per_seed(client: Client, celery: Celery) -> None:
    job = client.submit([3, 4], force=True)
    answer: Any = celery.AsyncResult(job.id)
    value = answer.get(timeout=TIMEOUT_S)
    assert answer.state == "SUCCESS"
    assert (value["succeeded"], value["failed"], value["job_id"]) == (2, 0, job.id)
    promised = {
        "seed",
        "status",
        "caption",
        "image_uri",
        "metadata_uri",
        "sha256",
        "width",
        "height",
        "bytes",
        "cached",
        "timings",
    }
    for entry in value["seeds"]:
        assert promised <= set(entry)
        assert entry["status"] == "succeeded"
        assert entry["timings"]["generate_ms"] > 0


FOREIGN_APP = """
import json, sys
from celery import Celery

app = Celery(broker=sys.argv[1], backend=sys.argv[1])
result = app.send_task("seedmill.generate", args=[[42, 7]], queue="seedmill")
value = result.get(timeout=60)
ours = sorted({name.split(".")[0] for name in sys.modules} & {"producer", "worker", "torch"})
captions = [seed["caption"] for seed in value["seeds"]]
print(json.dumps({"id": result.id, "state": result.state, "captions": captions, "ours": ours}))
"""


def test_a_celery_app_that_imports_nothing_of_ours_can_enqueue_and_poll(
    client: Client, endpoints: Endpoints, tmp_path: Path
) -> None:
    script = tmp_path / "app.py"
    script.write_text(FOREIGN_APP)
    done = run_python(str(script), endpoints.redis_url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["state"] == "SUCCESS"
    assert answer["ours"] == []
    mine = client.submit([42, 7]).wait(TIMEOUT_S)
    assert answer["captions"] == [result.caption for result in mine.results()]
    assert client.get(answer["id"]).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"args": [[1, -2]]}, "-2 is not a seed"),
        ({"args": [[]]}, "empty list"),
        ({"args": ["7"]}, "'7'"),
        ({}, "None"),
        ({"args": [1], "kwargs": {"size": 512}}, "size"),
        ({"kwargs": {"seeds": list(range(2000))}}, "1024"),
    ],
)
def test_a_message_that_is_no_chunk_fails_with_the_reason_and_the_worker_goes_on(
    celery: Celery, client: Client, worker: Process, arguments: dict[str, Any], words: str
) -> None:
    answer: Any = celery.send_task(TASK_NAME, queue=QUEUE, **arguments)
    with pytest.raises(Exception, match=words):
        answer.get(timeout=TIMEOUT_S)
    assert answer.state == "FAILURE"
    assert client.submit(1).wait(TIMEOUT_S).status is JobStatus.SUCCEEDED
    assert worker.exit_status is None


def start_on(quiet: Endpoints, stack: Stack, environment: dict[str, str], **more: str) -> Process:
    """Start a further worker, on a database of its own."""
    return stack.start_worker({**environment, "SEEDMILL_REDIS_URL": quiet.redis_url, **more}, wait=False)


def wait_until_running(client: Client, job_id: str, *, done: int = 1) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while client.get(job_id).counts.done < done:
        assert time.monotonic() < deadline, client.get(job_id)
        time.sleep(0.01)


def test_a_canceled_job_is_not_generated_and_its_neighbour_is(
    quiet: Endpoints, stack: Stack, store: ObjectStore, model_environment: dict[str, str]
) -> None:
    with Client(quiet.redis_url) as client:
        unwanted, wanted = client.submit(range(7000, 7040)), client.submit([7100])
        unwanted.cancel()
        worker = start_on(quiet, stack, model_environment)
        (result,) = wanted.wait(TIMEOUT_S).results()
        assert worker.stop() == 0
        assert unwanted.refresh().status is JobStatus.CANCELED
        assert list(unwanted.results()) == []
        assert client.queue().waiting == 0
    published = set(store.keys(f"{result.model_id}/"))
    assert image_key(str(result.model_id), 7100) in published
    assert not any(image_key(str(result.model_id), seed) in published for seed in range(7000, 7040))


def test_a_killed_workers_chunks_go_to_another_and_nothing_is_counted_twice(
    quiet: Endpoints, stack: Stack, store: ObjectStore, model_environment: dict[str, str]
) -> None:
    with Client(quiet.redis_url, chunk_size=8) as client:
        job = client.submit(range(8000, 8080))
        first = start_on(quiet, stack, model_environment)
        wait_until_running(client, job.id, done=16)
        os.kill(first.pid, signal.SIGKILL)
        assert job.refresh().status is JobStatus.RUNNING
        second = start_on(quiet, stack, model_environment)
        job.wait(TIMEOUT_S)
        assert second.stop() == 0
        assert job.counts == Counts(80, 0, 0, 80, 0, 0)
        results = list(job.results())
    assert [result.seed for result in results] == list(range(8000, 8080))
    for result in results:
        png = store.get(image_key(str(result.model_id), result.seed))
        assert hashlib.sha256(png).hexdigest() == result.sha256


@pytest.mark.parametrize(
    "arguments", [{"args": [1], "task_id": "x" * 300}, {"kwargs": {"seeds": [1], "job_id": "gone"}}]
)
def test_odd_ids_neither_stop_nor_busy_the_worker(
    celery: Celery, client: Client, worker: Process, arguments: dict[str, Any]
) -> None:
    celery.send_task(TASK_NAME, queue=QUEUE, **arguments)
    assert client.submit(2).wait(TIMEOUT_S).status is JobStatus.SUCCEEDED
    assert (client.queue().waiting, client.queue().held) == (0, 0)
    assert worker.exit_status is None


def test_sigterm_finishes_what_was_taken_and_leaves_the_rest_in_the_queue(
    quiet: Endpoints, stack: Stack, model_environment: dict[str, str]
) -> None:
    with Client(quiet.redis_url, chunk_size=4) as client:
        job = client.submit(range(9000, 9400))
        worker = start_on(quiet, stack, model_environment)
        wait_until_running(client, job.id, done=20)
        assert worker.stop(grace_s=30) == 0
        seen, queue = job.refresh(), client.queue()
        assert seen.counts.running == 0
        assert queue.held == 0
        assert queue.waiting * 4 == seen.counts.queued > 0
        assert queue.workers == ()
        results = list(job.results())
        assert len(results) == seen.counts.succeeded
        assert {result.status for result in results} == {SeedStatus.SUCCEEDED}
