"""One model per queue: no job gets results of two, whatever dies, rolls or comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from producer.attempts import Verdict
from producer.contract import (
    DEFAULT_QUEUE,
    MIXED,
    QUEUES_KEY,
    JobStatus,
    Priority,
)
from producer.errors import ReplayRefused
from producer.queue_keys import queue_keys
from tests.integration.queues import NEW, OLD, V2, Workers
from worker.errors import QueueTaken
from worker.local.stack import Endpoints


@pytest.fixture
def workers(quiet: Endpoints) -> Iterator[Workers]:
    made = Workers(quiet)
    yield made
    made.close()


def test_a_queue_is_refused_to_another_model_while_a_worker_serves_it(workers: Workers) -> None:
    old = workers.open(OLD)
    workers.open(OLD)
    with pytest.raises(QueueTaken, match=f"queue 'default'.*model {NEW}.*2 workers with model {OLD}.*SEEDMILL_QUEUE"):
        workers.open(NEW)
    workers.open(NEW, "v2")
    workers.ledgers[1].leave()
    old.leave()
    workers.open(NEW)
    assert workers.redis.hgetall(QUEUES_KEY) == {DEFAULT_QUEUE: NEW, "v2": NEW}


def test_a_queue_is_refused_to_another_model_while_a_job_is_half_done(workers: Workers) -> None:
    old = workers.open(OLD)
    job = workers.client.submit(range(4), job_id="half")
    (taken,) = old.take()
    workers.finish(old, taken, OLD)
    workers.client.submit(range(9), job_id="fresh")
    old.leave()
    with pytest.raises(QueueTaken, match=f"job half was begun with model {OLD}: bring that back.*cancel the job"):
        workers.open(NEW)
    again = workers.open(OLD)
    again.leave()
    job.cancel()
    new = workers.open(NEW)
    (taken,) = new.take()
    workers.finish(new, taken, NEW)
    assert workers.client.get("fresh").model_id == NEW, "what nobody had begun with is the new model's"


def test_a_job_that_is_half_done_keeps_only_its_own_queue(workers: Workers) -> None:
    workers.known("v2", OLD)
    workers.client.submit(range(4), job_id="half", queue="v2")
    old = workers.open(OLD, "v2")
    (taken,) = old.take()
    workers.finish(old, taken, OLD)
    old.leave()
    workers.open(OLD).leave()
    workers.open(NEW)
    with pytest.raises(QueueTaken, match="job half"):
        workers.open(NEW, "v2")


def test_mixed_models_serve_one_queue_where_that_is_wanted(workers: Workers) -> None:
    old, new = workers.open(OLD), workers.open(MIXED)
    workers.client.submit(range(4), job_id="both")
    for ledger, model in ((old, OLD), (new, NEW)):
        (taken,) = ledger.take()
        workers.finish(ledger, taken, model)
    job = workers.client.get("both")
    assert (job.status, job.model_id) == (JobStatus.SUCCEEDED, None)
    assert workers.client.queue().queues[DEFAULT_QUEUE].model_id is None
    with pytest.raises(QueueTaken, match="several models"):
        workers.open(OLD)


def test_a_worker_of_an_earlier_release_counts_by_what_it_says(workers: Workers) -> None:
    old = workers.open(OLD)
    workers.redis.delete(QUEUES_KEY)
    with pytest.raises(QueueTaken, match=OLD):
        workers.open(NEW)
    old.beat({"model_id": OLD})
    assert workers.redis.hgetall(QUEUES_KEY) == {DEFAULT_QUEUE: OLD}, "what Redis forgot is claimed again"


def test_a_worker_that_was_taken_for_dead_begins_nothing_in_a_queue_of_another_model(workers: Workers) -> None:
    frozen = workers.open(OLD)
    workers.client.submit([1], job_id="j")
    (taken,) = frozen.take()
    workers.redis.zadd(queue_keys().workers, {frozen.id: 1})
    workers.open(NEW)
    _, start = workers.begin(frozen, taken, OLD)
    assert start.verdict is Verdict.GONE
    with pytest.raises(QueueTaken, match=f"served with model {NEW} by now"):
        frozen.beat({"model_id": OLD})
    assert workers.client.get("j").status is JobStatus.QUEUED


def test_a_dead_letter_goes_back_to_its_queue_if_that_has_the_model_of_its_job(workers: Workers) -> None:
    old = workers.open(OLD, "v2")
    workers.client.submit(range(4), job_id="j", queue="v2")
    for failed in (1, 0):
        (taken,) = old.take()
        workers.finish(old, taken, OLD, failed=failed)
    (letter,) = workers.client.dead_letters()
    assert (letter.queue, letter.lane) == ("v2", V2.lane(Priority.BULK))
    old.leave()
    new = workers.open(NEW, "v2")
    with pytest.raises(ReplayRefused, match=r"queue 'v2' has another model by now.*its job j"):
        workers.client.replay(letter.id)
    assert workers.client.dead_letters() == [letter]
    new.leave()
    old = workers.open(OLD, "v2")
    workers.client.replay(letter.id)
    (taken,) = old.take()
    assert taken.lane == V2.lane(Priority.BULK)
    workers.finish(old, taken, OLD)
    assert workers.client.get("j").status is JobStatus.SUCCEEDED
