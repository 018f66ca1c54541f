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
    job_key,
)
from producer.errors import ReplayRefused
from producer.queue_keys import queue_keys
from tests.integration.conftest import message_in
from tests.integration.queues import NEW, OLD, V2, Workers
from worker import duties
from worker.errors import InvalidMessage, QueueTaken
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
    one, other = workers.open(MIXED), workers.open(MIXED)
    workers.client.submit(range(4), job_id="both")
    for ledger, model in ((one, OLD), (other, NEW)):
        (taken,) = ledger.take()
        workers.finish(ledger, taken, model)
    job = workers.client.get("both")
    assert (job.status, job.model_id) == (JobStatus.SUCCEEDED, None)
    assert workers.client.queue().queues[DEFAULT_QUEUE].model_id is None
    with pytest.raises(QueueTaken, match="several models"):
        workers.open(OLD)


def test_mixed_models_are_refused_while_one_model_serves_or_has_begun_a_job(workers: Workers) -> None:
    old = workers.half()
    with pytest.raises(QueueTaken, match=f"for several models.*1 worker with model {OLD}"):
        workers.open(MIXED)
    old.leave()
    with pytest.raises(QueueTaken, match=f"job half was begun with model {OLD}"):
        workers.open(MIXED)


def test_a_job_of_one_model_that_comes_to_a_queue_of_several_tells_none_any_more(workers: Workers) -> None:
    old = workers.half()
    workers.redis.hset(QUEUES_KEY, DEFAULT_QUEUE, MIXED)
    (taken,) = old.take()
    workers.finish(old, taken, NEW)
    assert workers.client.get("half").model_id is None


def test_a_chunk_of_a_job_that_another_model_began_fails_and_its_letter_goes_back_to_that(workers: Workers) -> None:
    old = workers.half()
    old.leave()
    workers.redis.hset(QUEUES_KEY, DEFAULT_QUEUE, NEW)  # whatever the reason
    new = workers.open(NEW)
    (taken,) = new.take()
    value = workers.run(new, taken, NEW)
    assert value is not None
    assert value["failed"] == 2
    new.settled(taken.tag)
    job = workers.client.get("half")
    assert (job.status, job.model_id) == (JobStatus.FAILED, OLD)
    (letter,) = workers.client.dead_letters()
    assert "begun with another model than its queue has now" in letter.failures[0]["message"]
    with pytest.raises(ReplayRefused, match="another model"):
        workers.client.replay(letter.id)
    new.leave()
    old = workers.open(OLD)
    workers.client.replay(letter.id)
    (taken,) = old.take()
    workers.finish(old, taken, OLD)
    assert workers.client.get("half").status is JobStatus.SUCCEEDED


def test_a_message_of_a_job_of_another_queue_is_not_run(workers: Workers) -> None:
    workers.known("v2", NEW)
    workers.client.submit([1], job_id="j")
    old, new = workers.open(OLD), workers.open(NEW, "v2")
    (taken,) = old.take()
    workers.redis.lpush(V2.celery, message_in(taken.text).encode("v2"))
    (stray,) = new.take()
    with pytest.raises(InvalidMessage, match="none of job j in this queue"):
        workers.run(new, stray, NEW)
    workers.finish(old, taken, OLD)
    assert (workers.client.get("j").status, workers.client.get("j").model_id) == (JobStatus.SUCCEEDED, OLD)


def test_a_queue_that_was_forgotten_is_refused_to_another_model_while_a_job_of_it_is_half_done(
    workers: Workers,
) -> None:
    workers.half("v2").leave()
    workers.redis.delete(QUEUES_KEY)
    with pytest.raises(QueueTaken, match=f"job half was begun with model {OLD}"):
        workers.open(NEW, "v2")
    workers.open(OLD, "v2")


def test_jobs_that_an_earlier_release_began_pass_in_a_queue_that_nobody_has_claimed(workers: Workers) -> None:
    workers.half().leave()
    workers.redis.delete(QUEUES_KEY)
    workers.redis.hdel(job_key("half"), "model_id")
    workers.open(NEW)


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
    lost: list[bool] = []
    assert not duties.beat(frozen, dict, lost=lambda: lost.append(True))
    assert lost == [True]
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
