"""Queues side by side on a real Valkey: each has lanes, workers and one model of its own, and no job gets two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from producer import records
from producer.contract import (
    ACTIVE_KEY,
    BACKLOG_QUEUES_KEY,
    DEFAULT_QUEUE,
    LANES,
    QUEUES_KEY,
    JobStatus,
    Priority,
    held_key,
    job_key,
)
from producer.errors import QueueUnknown, ReplayRefused, SettingsError
from producer.lua import SCRIPTS, Call
from producer.queue import check_forgotten, forget_queue
from producer.queue_keys import queue_keys
from producer.reconcile import looks_complete
from producer.records import Extras
from tests.integration.conftest import Make, message_in
from tests.integration.queues import BULK, NEW, OLD, V2, Workers
from worker.local.stack import Endpoints
from worker.queue import sweeper
from worker.queue.burial import Burial


@pytest.fixture
def workers(quiet: Endpoints) -> Iterator[Workers]:
    made = Workers(quiet)
    yield made
    made.close()


@pytest.mark.parametrize("name", [DEFAULT_QUEUE, "", "v2", "a-1"])
def test_scripts_and_python_have_the_same_names(workers: Workers, name: str) -> None:
    prelude = SCRIPTS["read_job"].partition("-- A job as it is now")[0]
    script = (
        prelude
        + """
        local names = {own_key(ARGV[1], 'workers'), own_key(ARGV[1], 'worker-facts')}
        for lane = 0, 3 do
            names[#names + 1] = lane_key(ARGV[1], lane)
            names[#names + 1] = behind_key(ARGV[1], lane)
            names[#names + 1] = turns_key(ARGV[1], lane, 'studio')
        end
        return names
    """
    )
    keys = queue_keys(name or DEFAULT_QUEUE)
    wanted = [keys.workers, keys.worker_facts]
    for lane in range(4):
        wanted += [keys.lanes[lane], keys.behind[lane], keys.turns(lane, "studio")]
    assert workers.client._run(Call(script, [], [name])) == wanted


def test_the_names_of_the_default_queue_are_those_that_it_always_had() -> None:
    default = queue_keys()
    assert (default.celery, default.lanes) == ("seedmill", LANES)
    assert (default.workers, default.behind[3]) == ("seedmill:workers", "seedmill:behind:9")
    assert default.turns(3, "studio") == "seedmill:turns:3:studio"
    assert (V2.celery, V2.lanes[1]) == ("seedmill.v2", "seedmill.v2\x06\x163")
    assert (V2.workers, V2.turns(0, "x")) == ("seedmill:queue:v2:workers", "seedmill:queue:v2:turns:0:x")


def test_a_job_goes_to_its_queue_and_is_taken_there_alone(make: Make, workers: Workers) -> None:
    workers.known()
    client = make()
    mine, other = client.submit([1, 2, 3, 4, 5], queue="v2", job_id="mine"), client.submit([6], job_id="other")
    assert (mine.queue, other.queue, mine.model_id) == ("v2", DEFAULT_QUEUE, None)
    old, new = workers.open(OLD), workers.open(NEW, "v2")
    assert [message_in(one.text).task_id for one in old.take()] == ["other"]
    assert old.take() == [], "nothing of another queue's"
    (taken,) = new.take()
    assert (message_in(taken.text).task_id, taken.lane) == ("mine.0", V2.lane(Priority.BULK))
    assert '"routing_key":"seedmill.v2"' in taken.text.decode()
    workers.finish(new, taken, NEW)
    assert mine.refresh().model_id == NEW
    assert mine.to_dict().items() >= {"queue": "v2", "model_id": NEW}.items()


def test_the_queue_of_the_client_and_of_the_environment_count_unless_a_submit_says_otherwise(
    make: Make, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.known()
    workers.known("v3", OLD)
    assert make(queue="v2").submit([1]).queue == "v2"
    assert make(queue="v2").submit([1], queue="v3").queue == "v3"
    monkeypatch.setenv("SEEDMILL_QUEUE", "v3")
    assert make().submit([1]).queue == "v3"


def test_a_queue_that_no_worker_ever_served_is_refused_in_words(make: Make, workers: Workers) -> None:
    client = make()
    with pytest.raises(QueueUnknown, match=r"queue 'v9' is not known.*SEEDMILL_QUEUE=v9"):
        client.submit([1], queue="v9", job_id="j")
    assert not workers.redis.exists(job_key("j"), ACTIVE_KEY)
    for name in ("V2", "a b", "", "x" * 33, "v2\n"):
        with pytest.raises(SettingsError, match="queue"):
            client.submit([1], queue=name)


def test_a_repeated_submit_finds_its_job_in_whatever_queue_that_is(make: Make, workers: Workers) -> None:
    workers.known()
    client = make()
    client.submit([1, 2], queue="v2", job_id="j")
    assert client.submit([1, 2], job_id="j").queue == "v2"
    assert workers.redis.llen(LANES[0]) == 0, "nothing more is enqueued"


def test_place_cancel_and_the_backlog_are_those_of_the_queue(workers: Workers) -> None:
    workers.known()
    client = workers.client
    client.submit(range(10), job_id="before", queue="v2")
    client.submit(range(6), job_id="elsewhere")
    job = client.submit(range(4), job_id="j", queue="v2")
    assert job.queue_position == 1
    queues = client.queue().queues
    assert {name: (one.waiting, one.backlog, one.workers) for name, one in queues.items()} == {
        DEFAULT_QUEUE: (3, 6, 0),
        "v2": (7, 14, 0),
    }
    assert client.queue().waiting == 10
    job.cancel()
    assert client.queue().queues["v2"].backlog == 10
    assert workers.redis.lrange(V2.lane(Priority.BULK), 0, -1) == ["job before"]
    client.cancel("before")
    assert client.queue().queues["v2"].backlog == 0
    assert client.queue().queues[DEFAULT_QUEUE].backlog == 6
    assert not workers.redis.exists(V2.lane(Priority.BULK), *V2.behind)


def test_the_backlog_of_queues_is_counted_again(workers: Workers) -> None:
    workers.known()
    workers.client.submit(range(10), queue="v2")
    workers.client.submit(range(3))
    workers.redis.hset(BACKLOG_QUEUES_KEY, "v2", 77)
    assert workers.client._run(records.count_backlog()) == 1
    seen = workers.client.queue().queues
    assert (seen["v2"].backlog, seen[DEFAULT_QUEUE].backlog) == (10, 3)


@pytest.mark.parametrize("tenant", ["", "studio"])
def test_what_is_lost_of_any_queue_is_enqueued_again_there(workers: Workers, tenant: str) -> None:
    new = workers.open(NEW, "v2")
    call = records.create_job(
        "j",
        range(6),
        chunk_size=2,
        ttl_s=600,
        priority=Priority.BULK,
        queue="v2",
        extras=Extras(tenant=tenant),
    )
    assert workers.client._run(call) == 1
    (taken,) = new.take()
    workers.redis.delete(new.key, V2.lane(Priority.BULK), V2.turns(BULK, "studio"))
    new.settled(taken.tag)
    done = workers.client.reconcile()
    assert done.republished == 3
    found = set()
    for _ in range(3):
        (taken,) = new.take()
        found.add(message_in(taken.text).chunk)
        workers.finish(new, taken, NEW)
    assert found == {0, 1, 2}
    assert workers.client.get("j").status is JobStatus.SUCCEEDED
    assert new.take() == []
    assert not workers.redis.exists(*LANES), "nothing went to the default queue"


def test_workers_are_swept_by_those_of_their_own_queue(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "GRACE_S", 0)  # the server may be young
    workers.known()
    workers.client.submit([1], queue="v2", job_id="j")
    gone = workers.open(NEW, "v2")
    assert len(gone.take()) == 1
    workers.redis.zadd(V2.workers, {gone.id: 1})
    assert workers.open(OLD).sweep() == 0
    assert workers.redis.hlen(gone.key) == 1
    other = workers.open(NEW, "v2")
    assert other.sweep() == 1
    assert [message_in(one.text).task_id for one in other.take()] == ["j"]


def test_all_workers_that_are_gone_are_swept_at_once(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "GRACE_S", 0)  # the server may be young
    one = workers.open(OLD)
    for number in range(45):
        workers.redis.zadd(queue_keys().workers, {f"gone-{number}": 1})
        workers.redis.hset(held_key(f"gone-{number}"), "1.0", "0text")
    assert one.sweep() == 45
    assert workers.redis.zrange(queue_keys().workers, 0, -1) == [one.id]


def test_a_queue_is_not_forgotten_while_a_worker_that_is_gone_holds_messages(workers: Workers) -> None:
    gone = workers.open(NEW, "v2")
    workers.redis.lpush(V2.celery, "of some Celery app")
    assert len(gone.take()) == 1
    workers.redis.zadd(V2.workers, {gone.id: 1})
    with pytest.raises(SettingsError, match="held which is gone: start one"):
        check_forgotten("v2", workers.client._run(forget_queue("v2")))
    assert workers.redis.hlen(gone.key) == 1


def test_a_dead_letter_of_a_queue_that_was_forgotten_is_refused(workers: Workers) -> None:
    old = workers.open(OLD, "v2")
    workers.client.submit([1], job_id="j", queue="v2")
    (taken,) = old.take()
    workers.finish(old, taken, OLD, failed=1)
    (letter,) = workers.client.dead_letters()
    old.leave()
    check_forgotten("v2", workers.client._run(forget_queue("v2")))
    with pytest.raises(ReplayRefused, match=r"queue 'v2' is not known.*SEEDMILL_QUEUE=v2"):
        workers.client.replay(letter.id)
    assert workers.client.get("j").status is JobStatus.FAILED
    workers.known("v2", OLD)
    workers.client.replay(letter.id)
    assert workers.redis.llen(V2.celery) == 1


def test_jobs_of_a_queue_that_redis_has_forgotten_are_seen_as_its_own_and_looked_after(workers: Workers) -> None:
    workers.known()
    workers.client.submit(range(6), job_id="j", queue="v2")
    workers.client.submit([1])
    workers.redis.delete(QUEUES_KEY)
    seen = workers.client.queue().queues
    assert {name: (one.waiting, one.backlog) for name, one in seen.items()} == {DEFAULT_QUEUE: (1, 1), "v2": (3, 6)}
    assert looks_complete(workers.redis)
    new = workers.open(NEW, "v2")
    (taken,) = new.take()
    workers.redis.delete(QUEUES_KEY)
    assert workers.client.reconcile().republished == 0, "what is there is found"
    workers.finish(new, taken, NEW)


def test_a_queue_is_forgotten_once_it_has_neither_workers_nor_jobs(workers: Workers) -> None:
    def forget(name: str = "v2") -> None:
        check_forgotten(name, workers.client._run(forget_queue(name)))

    with pytest.raises(QueueUnknown):
        forget()
    with pytest.raises(SettingsError, match="always there"):
        forget(DEFAULT_QUEUE)
    new = workers.open(NEW, "v2")
    with pytest.raises(SettingsError, match="has workers"):
        forget()
    new.leave()
    job = workers.client.submit(range(4), queue="v2")
    with pytest.raises(SettingsError, match="has jobs"):
        forget()
    job.cancel()
    forget()
    assert list(workers.client.queue().queues) == [DEFAULT_QUEUE]
    assert not list(workers.redis.scan_iter("seedmill:queue:*"))
    assert not list(workers.redis.scan_iter("seedmill.v2*"))
    with pytest.raises(QueueUnknown):
        workers.client.submit([1], queue="v2")


def test_a_malformed_message_becomes_a_dead_letter_of_its_queue(workers: Workers) -> None:
    new = workers.open(NEW, "v2")
    workers.redis.lpush(V2.celery, "no message")
    (taken,) = new.take()
    new.bury([Burial.of(taken.tag, ValueError("bad"), task_id="", raw="no message", whole=True, lane=taken.lane)])
    (letter,) = workers.client.dead_letters()
    assert letter.queue == "v2"
    workers.client.replay(letter.id)
    assert [one.text for one in new.take()] == [b"no message"]
