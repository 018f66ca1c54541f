"""Queues side by side on a real Valkey: each has lanes, workers and one model of its own, and no job gets two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from producer import Client, attempts, records
from producer.attempts import Ending, Start, Verdict
from producer.connection import connect
from producer.contract import (
    ACTIVE_KEY,
    BACKLOG_QUEUES_KEY,
    DEFAULT_QUEUE,
    LANES,
    MIXED,
    QUEUES_KEY,
    JobStatus,
    Priority,
    job_key,
    turns_key,
)
from producer.dead import DeadLetter
from producer.errors import QueueUnknown, ReplayRefused, SettingsError
from producer.lua import SCRIPTS, Call
from producer.message import ChunkMessage, encode_celery_result
from producer.queue import check_forgotten, forget_queue
from producer.queue_keys import queue_keys
from producer.records import Extras
from tests.integration.conftest import Make, message_in
from worker.errors import QueueTaken
from worker.local.stack import Endpoints
from worker.queue import sweeper
from worker.queue.burial import Burial
from worker.queue.ledger import Ledger, Taken

OLD, NEW = "old-0123456789abcdef", "new-0123456789abcdef"
V2 = queue_keys("v2")
BULK = LANES.index(Priority.BULK.lane)


class Workers:
    """Ledgers of workers by queue and model, and what they do with a message, by hand."""

    def __init__(self, quiet: Endpoints) -> None:
        self.url = quiet.redis_url
        self.client = Client(quiet.redis_url, chunk_size=2)
        self.redis: Any = self.client._redis
        self.ledgers: list[Ledger] = []

    def open(self, model: str, queue: str = DEFAULT_QUEUE, *, lease_s: float = 60) -> Ledger:
        """Return the ledger of a worker that has the queue for its model."""
        connection = connect(self.url, decode=False, retries=0)
        ledger = Ledger(connection, limit=1, seeds=10**6, result_ttl_s=60, queue=queue, lease_s=lease_s)
        self.ledgers.append(ledger)
        ledger.claim(model)
        ledger.beat({"model_id": model})
        return ledger

    def begin(self, ledger: Ledger, taken: Taken, model: str) -> tuple[ChunkMessage, Start]:
        message = message_in(taken.text)
        call = attempts.start_chunk(
            message,
            held=ledger.key,
            tag=taken.tag,
            adopt=False,
            alone=True,
            ttl_s=60,
            model_id=model,
            queue=ledger.queue.name,
        )
        return message, Start.parse(self.client._run(call))

    def finish(self, ledger: Ledger, taken: Taken, model: str, *, failed: int = 0) -> None:
        message, start = self.begin(ledger, taken, model)
        assert start.verdict is Verdict.RUN
        text = encode_celery_result(message.task_id, "SUCCESS", {})
        letter = ""
        if failed:
            lane, queue = ledger.queue.lane(message.priority), ledger.queue.name
            ids: dict[str, Any] = {"job_id": message.job_id, "chunk": message.chunk, "seeds": message.seeds}
            letter = DeadLetter(message.task_id, "now", "bad", lane, queue=queue, **ids).encode()
        ending = Ending(len(message.seeds) - failed, failed, text, letter, model)
        assert self.client._run(attempts.finish_chunk(message, ending, held=ledger.key, tag=taken.tag, ttl_s=60)) == 1
        ledger.settled(taken.tag)

    def known(self, queue: str = "v2", model: str = NEW) -> None:
        """Let a worker have served a queue once."""
        self.open(model, queue).leave()


@pytest.fixture
def workers(quiet: Endpoints) -> Iterator[Workers]:
    made = Workers(quiet)
    yield made
    for ledger in made.ledgers:
        ledger.close()
    made.client.close()


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
    assert default.turns(3, "studio") == turns_key(3, "studio")
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
