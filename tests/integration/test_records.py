"""The life of a job record in a real Valkey: every step once, whatever is repeated."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from producer import attempts, records
from producer.attempts import Ending, Start, Verdict
from producer.connection import connect
from producer.contract import (
    ACTIVE_KEY,
    DEAD_INDEX_KEY,
    DEAD_KEY,
    QUEUE,
    WAKE,
    WORKERS_KEY,
    JobStatus,
    Priority,
    facts_key,
    held_key,
    job_key,
    result_key,
    seeds_key,
)
from producer.dead import DeadLetter, replay_dead
from producer.job import JobRecord
from producer.lua import Call
from producer.message import ChunkMessage
from producer.queue import parse_queue_status, queue_status
from tests.support import messages_of
from worker.local.stack import Endpoints

TTL_S = 600
HELD = held_key("w")
BULK = Priority.BULK


class Bench:
    """A connection with the calls of both sides."""

    def __init__(self, client: redis.Redis) -> None:
        self.redis: Any = client
        self.deliveries = itertools.count()
        self.last: dict[str, str] = {}

    def run(self, call: Call) -> Any:
        return self.redis.register_script(call.script)(keys=call.keys, args=call.args)

    def create(
        self, seeds: range | tuple[int, ...] = (1, 2, 3), *, job: str = "j", chunk_size: int = 2
    ) -> list[ChunkMessage]:
        call = records.create_job(job, seeds, chunk_size=chunk_size, ttl_s=TTL_S, priority=BULK)
        assert self.run(call) == 1
        return messages_of(job, seeds, chunk_size, BULK)

    def begin(
        self, message: ChunkMessage, *, adopt: bool = False, alone: bool = False, delivery: str | None = None
    ) -> Start:
        """Take a message, as this delivery, and begin with it."""
        tag = str(next(self.deliveries)) if delivery is None else delivery
        self.last[message.task_id] = tag
        self.redis.hset(HELD, tag, "0message")
        call = attempts.start_chunk(message, held=HELD, tag=tag, adopt=adopt, alone=alone, ttl_s=TTL_S)
        return Start.parse(self.run(call))

    def note(self, message: ChunkMessage, seed: int, delivery: str) -> int:
        return int(self.run(attempts.note_seed(message, seed, delivery=f"{HELD} {delivery}")))

    def give_back(self, message: ChunkMessage, delivery: str, *, counts: bool) -> int:
        return int(self.run(attempts.give_back(message, delivery=f"{HELD} {delivery}", counts=counts)))

    def start(self, message: ChunkMessage, *, adopt: bool = False) -> Verdict:
        return self.begin(message, adopt=adopt, alone=True).verdict

    def condemn(self, message: ChunkMessage, seed: int, delivery: str) -> int:
        return int(self.run(attempts.condemn_seed(message, seed, delivery=f"{HELD} {delivery}")))

    def finish(
        self,
        message: ChunkMessage,
        *,
        failed: int = 0,
        unwanted: int = 0,
        text: str = "result",
        letter: str = "",
        delivery: str | None = None,
    ) -> int:
        """End a chunk, unless told otherwise by the delivery that began with it last."""
        ending = Ending(len(message.seeds) - failed - unwanted, failed, text, letter)
        tag = self.last.get(message.task_id, "") if delivery is None else delivery
        return int(self.run(attempts.finish_chunk(message, ending, held=HELD, tag=tag, ttl_s=TTL_S)))

    def held(self) -> list[str]:
        return list(self.redis.hkeys(HELD))

    def waiting(self) -> int:
        """Return how many messages wait, those of tickets included."""
        return parse_queue_status(self.run(queue_status())).waiting

    def record(self, job: str = "j") -> JobRecord:
        return JobRecord.read(job, self.run(records.read_job(job)))


@pytest.fixture
def bench(quiet: Endpoints) -> Iterator[Bench]:
    client = connect(quiet.redis_url)
    yield Bench(client)
    client.close()


def test_a_new_job_is_queued_as_one_ticket(bench: Bench) -> None:
    bench.create(range(5))
    assert bench.record().status is JobStatus.QUEUED
    assert bench.record().counts.queued == 5
    assert bench.redis.lrange(BULK.lane, 0, -1) == ["job j"]
    assert bench.waiting() == 3


def test_submitting_again_under_the_same_id_enqueues_nothing(bench: Bench) -> None:
    bench.create()
    for seeds, answer in (((1, 2, 3), 0), (range(1, 4), 0), ((9, 9, 9, 9), -1), ((1, 3, 2), -1)):
        assert bench.run(records.create_job("j", seeds, chunk_size=1, ttl_s=TTL_S, priority=BULK)) == answer
    assert (bench.redis.llen(BULK.lane), bench.waiting()) == (1, 2)
    assert bench.record().counts.total == 3


def test_a_job_runs_from_its_first_chunk_and_succeeds_with_its_last(bench: Bench) -> None:
    first, second = bench.create()
    assert bench.start(first) is Verdict.RUN
    assert bench.record().status is JobStatus.RUNNING
    assert bench.record().counts.running == 2
    bench.finish(first)
    assert bench.record().status is JobStatus.RUNNING
    assert (bench.record().counts.succeeded, bench.record().counts.queued) == (2, 1)
    bench.start(second)
    bench.finish(second)
    done = bench.record()
    assert done.status is JobStatus.SUCCEEDED
    assert done.started_at is not None
    assert done.completed_at is not None
    assert done.created_at <= done.started_at <= done.completed_at


def test_one_failed_seed_makes_the_job_failed_and_keeps_the_others(bench: Bench) -> None:
    for message in bench.create():
        bench.start(message)
        bench.finish(message, failed=1 if message.chunk == 0 else 0)
    assert bench.record().status is JobStatus.FAILED
    assert (bench.record().counts.succeeded, bench.record().counts.failed) == (2, 1)


def test_a_redelivered_chunk_is_never_counted_twice(bench: Bench) -> None:
    first, _ = bench.create()
    assert [bench.start(first), bench.start(first)] == [Verdict.RUN, Verdict.RUN]
    assert bench.record().counts.running == 2
    assert [bench.finish(first, text="one"), bench.finish(first, text="two", failed=2)] == [1, 0]
    assert bench.start(first) is Verdict.DONE
    assert (bench.record().counts.succeeded, bench.record().counts.failed, bench.record().counts.running) == (2, 0, 0)
    assert bench.redis.get(result_key("j.0")) == "one"


def test_a_chunk_can_finish_without_having_started(bench: Bench) -> None:
    for message in bench.create():
        bench.finish(message)
    assert bench.record().status is JobStatus.SUCCEEDED
    assert bench.record().counts.running == 0


def test_the_result_is_published_to_those_who_wait(bench: Bench) -> None:
    (message,) = bench.create((7,))
    listener = bench.redis.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(result_key("j"))
    listener.get_message(timeout=5)
    bench.finish(message, text="news")
    news = next(filter(None, iter(lambda: listener.get_message(timeout=5), "never")))
    assert news["data"] == "news"
    listener.close()


def test_a_canceled_job_stays_canceled_and_its_chunks_are_not_run(bench: Bench) -> None:
    first, second = bench.create()
    bench.start(first)
    assert bench.run(records.cancel_job("j")) == 1
    assert bench.start(second) is Verdict.CANCELED
    bench.finish(first)
    bench.finish(second)
    assert bench.record().status is JobStatus.CANCELED


def test_a_job_that_has_ended_cannot_be_canceled(bench: Bench) -> None:
    for message in bench.create():
        bench.finish(message)
    assert bench.run(records.cancel_job("j")) == 0
    assert bench.record().status is JobStatus.SUCCEEDED
    assert bench.run(records.cancel_job("unknown")) == -1


def test_a_message_of_a_foreign_app_gets_its_record_when_it_is_taken(bench: Bench) -> None:
    message = ChunkMessage("t", "t", 0, (1, 2))
    assert bench.start(message, adopt=True) is Verdict.RUN
    assert bench.record("t").counts.running == 2
    bench.finish(message)
    assert bench.record("t").status is JobStatus.SUCCEEDED


def test_a_chunk_whose_record_is_gone_has_expired(bench: Bench) -> None:
    first, second = bench.create()
    bench.redis.hset(job_key("j"), "expires_ms", 5)
    assert bench.start(first) is Verdict.EXPIRED
    bench.redis.delete(job_key("j"))
    assert bench.start(second) is Verdict.EXPIRED
    assert not bench.redis.exists(job_key("j"))


def test_everything_that_is_written_ends_some_day(bench: Bench) -> None:
    (message,) = bench.create((7,))
    bench.start(message)
    bench.finish(message)
    assert not bench.redis.exists(seeds_key("j")), "the seeds are kept while they may be needed"
    lifetimes = [bench.redis.ttl(key) for key in (job_key("j"), facts_key("j"), result_key("j"))]
    assert all(0 < lifetime <= TTL_S + records.TOMBSTONE_S for lifetime in lifetimes)
    expires_ms = int(bench.redis.hget(job_key("j"), "expires_ms"))
    assert expires_ms < int(time.time() * 1000) + lifetimes[0] * 1000, "a late poll reads expired, not unknown"


def test_the_first_results_of_a_long_job_live_as_long_as_the_last(bench: Bench) -> None:
    first, second = bench.create()
    bench.finish(first)
    bench.redis.pexpire(result_key("j.0"), 5_000)
    bench.finish(second)
    assert bench.redis.pttl(result_key("j.0")) > 5_000


def test_every_step_puts_the_end_of_the_lifetime_off(bench: Bench) -> None:
    def expires_ms() -> int:
        return int(bench.redis.hget(job_key("j"), "expires_ms"))

    message, _ = bench.create()
    for step in (bench.start, bench.finish):
        soon = int(time.time() * 1000) + 10_000
        bench.redis.hset(job_key("j"), "expires_ms", soon)
        for key in (job_key("j"), facts_key("j")):
            bench.redis.pexpire(key, 10_000)
        step(message)
        assert expires_ms() > soon
        assert min(bench.redis.pttl(job_key("j")), bench.redis.pttl(facts_key("j"))) > 10_000


def test_results_live_as_long_as_their_job_says_and_not_the_worker(bench: Bench) -> None:
    bench.run(records.create_job("long", (1, 2), chunk_size=1, ttl_s=10 * TTL_S, priority=BULK))
    for message in messages_of("long", (1, 2), 1, BULK):
        bench.finish(message)
        for key in (job_key("long"), facts_key("long"), result_key(message.task_id)):
            assert bench.redis.ttl(key) > TTL_S + records.TOMBSTONE_S


def test_a_foreign_chunk_that_is_not_the_first_makes_no_record(bench: Bench) -> None:
    assert bench.start(ChunkMessage("t", "t", 3, (1,)), adopt=True) is Verdict.UNKNOWN
    assert not bench.redis.exists(job_key("t"))


def test_an_adopted_record_ends_some_day_whatever_comes_next(bench: Bench) -> None:
    bench.redis.hset(facts_key("t"), "0", "done")
    assert bench.start(ChunkMessage("t", "t", 0, (1,)), adopt=True) is Verdict.RUN
    assert bench.redis.ttl(job_key("t")) > 0
    assert bench.redis.ttl(facts_key("t")) > 0


def test_a_chunk_that_is_given_back_is_queued_again(bench: Bench) -> None:
    first, _ = bench.create()
    assert bench.give_back(first, "a", counts=True) == 0
    bench.begin(first, delivery="a")
    assert [bench.give_back(first, "a", counts=True), bench.give_back(first, "a", counts=True)] == [1, 0]
    assert (bench.record().counts.running, bench.record().counts.queued) == (0, 3)
    assert bench.start(first) is Verdict.RUN
    bench.finish(first)
    assert bench.give_back(first, "a", counts=True) == 0
    assert (bench.record().counts.running, bench.record().counts.succeeded) == (0, 2)


def drop(message: ChunkMessage, tag: str = "1.0") -> Call:
    return attempts.drop_chunk(message, "revoked", ttl_s=TTL_S, held=HELD, tag=tag)


def test_a_dropped_chunk_says_why_and_is_no_longer_running(bench: Bench) -> None:
    first, _ = bench.create()
    bench.start(first)
    bench.run(records.cancel_job("j"))
    assert bench.record().counts.running == 2
    assert [bench.run(drop(first)), bench.run(drop(first))] == [1, 1]
    assert bench.redis.get(result_key("j.0")) == "revoked"
    assert bench.redis.ttl(result_key("j.0")) > 0
    assert (bench.record().counts.running, bench.record().counts.canceled) == (0, 3)


def test_dropping_never_takes_a_result_away(bench: Bench) -> None:
    first, _ = bench.create()
    bench.start(first)
    bench.run(records.cancel_job("j"))
    bench.finish(first, text="result")
    assert bench.run(drop(first)) == 0
    assert bench.redis.get(result_key("j.0")) == "result"
    assert bench.record().counts.succeeded == 2


def test_a_chunk_that_the_job_does_not_have_is_not_run(bench: Bench) -> None:
    bench.create()
    assert bench.start(ChunkMessage("x", "j", 2, (9,))) is Verdict.UNKNOWN
    assert bench.start(ChunkMessage("y", "j", 1, (9,))) is Verdict.RUN


def test_ids_that_look_like_keys_of_other_jobs_collide_with_nothing(bench: Bench) -> None:
    first, _ = bench.create()
    bench.start(first)
    for odd in ("j:chunks", "chunks:j", ":", "j.0"):
        assert bench.start(ChunkMessage(odd, odd, 0, (1,)), adopt=True) is Verdict.RUN
    assert bench.record().counts.running == 2


def test_a_job_that_cannot_be_enqueued_leaves_no_record(bench: Bench) -> None:
    bench.redis.set(BULK.lane, "not a list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bench.run(records.create_job("j", (1, 2), chunk_size=1, ttl_s=TTL_S, priority=BULK))
    assert bench.redis.keys("seedmill:*") == []


def test_the_largest_job_is_accepted_whole_and_at_once(bench: Bench) -> None:
    before = bench.redis.info("memory")["used_memory"]
    bench.create(range(1_000_000), chunk_size=32)
    assert bench.redis.info("memory")["used_memory"] - before < 100_000
    assert (bench.redis.llen(BULK.lane), bench.waiting()) == (1, 31_250)
    assert bench.record().counts.queued == 1_000_000


def test_a_bulk_job_wakes_workers_that_wait_on_the_first_lane(bench: Bench) -> None:
    bench.create()
    assert bench.redis.lrange(QUEUE, 0, -1) == [WAKE]
    bench.create(job="second")
    assert bench.redis.lrange(QUEUE, 0, -1) == [WAKE], "one is enough"


def test_an_attempt_without_an_end_makes_a_chunk_suspect(bench: Bench) -> None:
    first, _ = bench.create()
    assert bench.begin(first) == Start(Verdict.RUN, 0, 0, 1)
    assert bench.begin(first) == Start(Verdict.SUSPECT, 1, 0, 1), "asking does not count"
    assert bench.begin(first, alone=True) == Start(Verdict.RUN, 1, 0, 2)
    assert bench.begin(first, alone=True) == Start(Verdict.RUN, 2, 0, 3)
    assert bench.record().counts.running == 2


def test_a_delivery_that_asks_twice_is_answered_as_before(bench: Bench) -> None:
    first, _ = bench.create()
    assert bench.begin(first, delivery="a") == bench.begin(first, delivery="a") == Start(Verdict.RUN, 0, 0, 1)
    assert bench.begin(first, delivery="b") == Start(Verdict.SUSPECT, 1, 0, 1)
    assert bench.begin(first, delivery="b", alone=True) == Start(Verdict.RUN, 1, 0, 2)
    assert bench.begin(first, delivery="b", alone=True) == Start(Verdict.RUN, 1, 0, 2)
    assert bench.record().counts.running == 2


def test_the_seed_that_a_chunk_stopped_at_is_remembered_and_how_often_in_a_row(bench: Bench) -> None:
    first, _ = bench.create()

    def attempt(delivery: str, *seeds: int) -> tuple[int | None, int]:
        start = bench.begin(first, alone=True, delivery=delivery)
        for seed in seeds:
            bench.note(first, seed, delivery)
        return start.stopped_at, start.died

    assert attempt("a", 1) == (None, 0)
    assert attempt("b", 1, 1) == (1, 1), "a reply that was lost does not count twice"
    assert attempt("c") == (1, 2)
    assert attempt("d", 1, 2) == (1, 2), "nothing was begun in between"
    assert attempt("e", 1) == (2, 1)
    assert attempt("f", 1) == (1, 1), "it is not in a row"
    assert attempt("g") == (1, 2)
    assert bench.note(first, 1, "a") == -1, "another has taken it over"
    assert attempt("h") == (1, 2)


def test_a_condemned_seed_is_remembered_until_the_chunk_ends(bench: Bench) -> None:
    first, _ = bench.create()
    bench.begin(first, alone=True, delivery="a")
    bench.note(first, 2, "a")
    assert bench.condemn(first, 2, "a") == 1
    assert bench.begin(first, alone=True, delivery="b") == Start(Verdict.RUN, 1, 0, 2, frozenset({2}))
    assert bench.condemn(first, 7, "a") == 0, "another has taken it over"
    bench.condemn(first, 1, "b")
    assert bench.begin(first, alone=True).condemned == {1, 2}
    bench.finish(first)
    assert bench.condemn(first, 1, "b") == 0
    assert bench.redis.hgetall(facts_key("j")) == {"0": "done"}


@pytest.mark.parametrize("counts", [True, False])
def test_what_is_given_back_is_no_death_at_a_seed(bench: Bench, counts: bool) -> None:
    first, _ = bench.create()
    for delivery in "ab":
        bench.begin(first, alone=True, delivery=delivery)
        bench.note(first, 1, delivery)
        bench.give_back(first, delivery, counts=counts)
    start = bench.begin(first, alone=True)
    assert (start.stopped_at, start.died, start.deaths, start.failures) == (None, 0, 0, 2 * counts)


def test_only_who_runs_a_chunk_can_give_it_back(bench: Bench) -> None:
    first, _ = bench.create()
    bench.begin(first, delivery="frozen")
    bench.begin(first, alone=True, delivery="other")
    assert bench.give_back(first, "frozen", counts=False) == 0
    assert bench.record().counts.running == 2
    assert bench.give_back(first, "other", counts=False) == 1
    assert bench.give_back(first, "other", counts=False) == 0, "once"
    assert bench.record().counts.running == 0
    assert bench.begin(first, alone=True) == Start(Verdict.RUN, 1, 0, 3)


@pytest.mark.parametrize(
    ("chunk", "seeds"), [(0, (1,)), (0, (1, 2, 3)), (1, (3, 4)), (2, (1, 2)), (2, ()), (50_000, (1, 2))]
)
def test_a_message_that_is_no_chunk_of_the_job_touches_nothing(
    bench: Bench, chunk: int, seeds: tuple[int, ...]
) -> None:
    bench.create((1, 2, 3), chunk_size=2)
    before = bench.redis.hgetall(job_key("j"))
    assert bench.start(ChunkMessage(f"j.{chunk}", "j", chunk, seeds)) is Verdict.UNKNOWN
    assert bench.redis.hgetall(job_key("j")) == before
    assert not bench.redis.exists(facts_key("j"))


def test_a_chunk_that_is_given_back_is_no_suspect_and_failures_are_counted(bench: Bench) -> None:
    first, _ = bench.create()
    for delivery, counts in (("a", False), ("b", True), ("c", True)):
        bench.begin(first, delivery=delivery)
        bench.give_back(first, delivery, counts=counts)
    assert bench.begin(first) == Start(Verdict.RUN, 0, 2, 4)


def test_only_who_runs_a_chunk_can_fail_it(bench: Bench) -> None:
    (message,) = bench.create((1, 2))
    bench.begin(message, delivery="frozen")
    bench.begin(message, alone=True, delivery="other")
    assert bench.finish(message, failed=1, delivery="frozen") == 0
    assert bench.record().counts.running == 2
    assert "frozen" not in bench.held()
    bench.give_back(message, "other", counts=False)
    assert bench.finish(message, failed=1, delivery="other") == -1
    assert "other" in bench.held(), "nobody else may have it: it goes back"
    bench.begin(message, alone=True, delivery="third")
    assert bench.finish(message, failed=1, delivery="third") == 1
    assert bench.finish(message, delivery="frozen") == 1, "a success counts whoever brings it"
    assert (bench.record().counts.succeeded, bench.record().counts.failed) == (2, 0)


def test_an_end_that_was_let_go_of_takes_nothing_away(bench: Bench) -> None:
    (message,) = bench.create((1, 2))
    bench.begin(message, delivery="frozen")
    bench.begin(message, alone=True, delivery="other")
    bench.finish(message, failed=1, text="half", letter="{}", delivery="other")
    bench.run(records.cancel_job("j"))
    assert bench.finish(message, unwanted=2, text="empty", delivery="frozen") == 0
    assert bench.redis.get(result_key("j")) == "half"
    assert bench.redis.hlen(DEAD_KEY) == 1


def test_an_end_of_a_forgotten_job_does_not_end_one_of_the_same_id(bench: Bench) -> None:
    old, _ = bench.create((1, 2, 3, 4))
    bench.begin(old, delivery="a")
    bench.redis.delete(job_key("j"))
    new, _, _, _ = bench.create((5, 6, 7, 8), chunk_size=1)
    assert bench.finish(old, delivery="a") == 0, "another size"
    bench.redis.delete(job_key("j"))
    again, _ = bench.create((1, 2, 3, 4))
    bench.begin(again, delivery="a")
    assert bench.finish(old, unwanted=2, delivery="a") == -1, "let go of, but this job is not cancelled"
    assert bench.record().counts.succeeded == 0
    assert bench.start(new) is Verdict.UNKNOWN


def test_a_job_that_is_submitted_again_after_its_record_is_gone_begins_anew(bench: Bench) -> None:
    for message in bench.create():
        bench.start(message)
        bench.finish(message)
    bench.redis.delete(job_key("j"))
    for message in bench.create():
        assert bench.start(message) is Verdict.RUN
        bench.finish(message)
    assert bench.record().status is JobStatus.SUCCEEDED
    foreign = ChunkMessage("t", "t", 0, (1,))
    bench.start(foreign, adopt=True)
    bench.finish(foreign)
    bench.redis.delete(job_key("t"))
    assert bench.start(foreign, adopt=True) is Verdict.RUN


def test_a_replayed_chunk_is_not_ended_by_a_late_failure(bench: Bench) -> None:
    (message,) = bench.create((1, 2))
    bench.begin(message, delivery="frozen")
    bench.begin(message, alone=True, delivery="other")
    letter = DeadLetter("j", "", "", job_id="j", seeds=(1, 2))
    bench.finish(message, failed=1, letter=letter.encode(), delivery="other")
    soon = int(time.time() * 1000) + 60_000
    bench.redis.hset(job_key("j"), "expires_ms", soon)
    assert bench.run(replay_dead(letter)) == 1
    assert int(bench.redis.hget(job_key("j"), "expires_ms")) > soon, "it has its time again"
    assert bench.finish(message, failed=1, delivery="frozen") == -1
    assert bench.start(message) is Verdict.RUN


def test_a_late_drop_does_not_take_a_replayed_chunk_from_who_runs_it(bench: Bench) -> None:
    (message,) = bench.create((1, 2))
    bench.begin(message, delivery="a")
    letter = DeadLetter("j", "", "", job_id="j", seeds=(1, 2))
    bench.finish(message, failed=1, letter=letter.encode(), delivery="a")
    assert bench.begin(message, delivery="slow").verdict is Verdict.DONE
    bench.run(replay_dead(letter))
    bench.begin(message, alone=True, delivery="b")
    assert bench.run(drop(message, tag="slow")) == 0
    assert not bench.redis.exists(result_key("j"))
    assert bench.finish(message, failed=1, delivery="b") == 1
    assert bench.record().status is JobStatus.FAILED


def test_who_does_not_hold_the_message_any_more_does_not_begin(bench: Bench) -> None:
    (message,) = bench.create((1, 2))
    bench.begin(message, delivery="other")
    call = attempts.start_chunk(message, held=held_key("frozen"), tag="a", adopt=False, alone=True, ttl_s=TTL_S)
    assert Start.parse(bench.run(call)).verdict is Verdict.GONE
    assert bench.finish(message, failed=1, delivery="other") == 1


def test_an_expired_job_is_not_revived_by_a_late_end(bench: Bench) -> None:
    first, second = bench.create()
    bench.begin(first, delivery="a")
    bench.redis.hset(job_key("j"), "expires_ms", 5)
    assert bench.start(second) is Verdict.EXPIRED
    bench.finish(first, delivery="a")
    assert bench.record().status is JobStatus.EXPIRED


def test_who_is_alive_has_not_died_of_a_seed(bench: Bench) -> None:
    (message,) = bench.create((1, 2))
    bench.redis.zadd(WORKERS_KEY, {"w": 1})
    for delivery in "abc":
        bench.begin(message, alone=True, delivery=delivery)
        assert bench.note(message, 1, delivery) == 0
    assert bench.begin(message, alone=True, delivery="d").died == 0
    bench.redis.zrem(WORKERS_KEY, "w")
    assert bench.begin(message, alone=True, delivery="e").died == 1
    assert bench.note(message, 1, "e") == 1


def test_a_redis_user_who_may_not_publish_can_still_record(bench: Bench, quiet: Endpoints) -> None:
    (message,) = bench.create((1, 2))
    bench.redis.hset(HELD, "1.0", "message")
    user = "ACL SETUSER mute on >secret ~* +@all resetchannels"
    bench.redis.execute_command(*user.split())
    mute = redis.Redis.from_url(quiet.redis_url, username="mute", password="secret", decode_responses=True)
    ending = Ending(2, 0, "result")
    call = attempts.finish_chunk(message, ending, held=HELD, tag="1.0", ttl_s=TTL_S)
    assert mute.register_script(call.script)(keys=call.keys, args=call.args) == 1
    mute.close()
    bench.redis.execute_command("ACL", "DELUSER", "mute")
    assert bench.record().status is JobStatus.SUCCEEDED


def test_an_end_leaves_no_counters_behind(bench: Bench) -> None:
    first, _ = bench.create()
    bench.begin(first, delivery="a")
    bench.note(first, 1, "a")
    bench.condemn(first, 1, "a")
    bench.note(first, 2, "a")
    bench.finish(first)
    assert bench.redis.hgetall(facts_key("j")) == {"0": "done"}


def test_the_end_of_a_chunk_and_its_acknowledgement_are_one_step(bench: Bench) -> None:
    first, second = bench.create()
    for tag in ("a", "b"):
        bench.begin(first, alone=True, delivery=tag)
    bench.begin(second, delivery="c")
    bench.finish(first, delivery="a")
    assert bench.held() == ["b", "c"]
    bench.finish(first, delivery="b")
    assert bench.held() == ["c"], "a redelivery is acknowledged as well"
    bench.run(records.cancel_job("j"))
    bench.run(drop(second, tag="c"))
    assert bench.held() == []


def test_a_late_success_wins_over_a_failure_and_takes_its_dead_letter_away(bench: Bench) -> None:
    (message,) = bench.create((7, 8))
    bench.start(message)
    bench.finish(message, failed=2, text="bad", letter="{}")
    assert bench.record().status is JobStatus.FAILED
    assert bench.redis.hkeys(DEAD_KEY) == bench.redis.zrange(DEAD_INDEX_KEY, 0, -1) == ["j"]
    assert bench.finish(message, failed=2, text="again") == 0
    assert bench.finish(message, text="good") == 1
    assert bench.record().status is JobStatus.SUCCEEDED
    assert (bench.record().counts.succeeded, bench.record().counts.failed) == (2, 0)
    assert bench.redis.get(result_key("j")) == "good"
    assert bench.redis.hlen(DEAD_KEY) == bench.redis.zcard(DEAD_INDEX_KEY) == 0


def test_a_late_failure_never_wins_over_a_success(bench: Bench) -> None:
    (message,) = bench.create((7,))
    bench.finish(message, text="good")
    assert bench.finish(message, failed=1, text="bad", letter="{}") == 0
    assert bench.redis.get(result_key("j")) == "good"
    assert bench.redis.hlen(DEAD_KEY) == 0


def test_jobs_are_active_until_they_end(bench: Bench) -> None:
    def active() -> list[str]:
        return list(bench.redis.zrange(ACTIVE_KEY, 0, -1))

    messages = bench.create()
    bench.create(job="other")
    assert active() == ["j", "other"]
    for message in messages:
        bench.start(message)
        bench.finish(message)
    assert active() == ["other"]
    bench.run(records.cancel_job("other"))
    assert active() == []


def test_a_canceled_chunk_counts_what_had_ended_and_the_rest_as_canceled(bench: Bench) -> None:
    (message,) = bench.create((1, 2, 3), chunk_size=3)
    bench.start(message)
    bench.run(records.cancel_job("j"))
    bench.finish(message, unwanted=2)
    counts = bench.record().counts
    assert (counts.running, counts.succeeded, counts.canceled) == (0, 1, 2)
    assert bench.record().status is JobStatus.CANCELED


MODEL = "demo-0123456789abcdef"
EDGES = (0, 511, 512, 2**31 - 1, 2**31, 2**32 - 1)


def known(bench: Bench, message: ChunkMessage, *, model_id: str = MODEL) -> frozenset[int]:
    """Return what the index tells a worker of that model when it begins with a chunk."""
    bench.redis.hset(HELD, "k", "0message")
    call = attempts.start_chunk(message, held=HELD, tag="k", adopt=False, alone=True, ttl_s=TTL_S, model_id=model_id)
    start = Start.parse(bench.run(call))
    assert start.verdict is Verdict.RUN
    return start.known


def publish(bench: Bench, message: ChunkMessage, seeds: tuple[int, ...]) -> None:
    """End a chunk whose seeds are published but for those that failed."""
    failed = len(message.seeds) - len(seeds)
    bench.begin(message, alone=True, delivery="p")
    ending = Ending(len(seeds), failed, "{}", model_id=MODEL, published=dict.fromkeys(seeds, ""))
    assert bench.run(attempts.finish_chunk(message, ending, held=HELD, tag="p", ttl_s=TTL_S)) == 1


def test_what_is_published_is_known_to_the_next_job_of_the_same_model(bench: Bench) -> None:
    (first,) = bench.create(EDGES, job="first", chunk_size=10)
    assert known(bench, first) == frozenset()
    publish(bench, first, EDGES[:-1])
    (second,) = bench.create((*EDGES, 1, 2**31 + 512), job="second", chunk_size=10)
    call = records.create_job("third", EDGES, chunk_size=10, ttl_s=TTL_S, priority=BULK, force=True)
    assert bench.run(call) == 1
    assert known(bench, messages_of("third", EDGES, 10, BULK)[0]) == frozenset(), "which force makes it forget"
    assert known(bench, second) == set(EDGES[:-1])
    assert known(bench, second, model_id="demo-0") == frozenset()


def test_the_index_of_what_is_published_is_small_and_ends_with_the_results(bench: Bench) -> None:
    seeds = tuple(range(1_000_000, 1_001_024))
    (job,) = bench.create(seeds, chunk_size=1024)
    publish(bench, job, seeds)
    keys = list(bench.redis.scan_iter("seedmill:known:*"))
    assert sum(bench.redis.memory_usage(key) for key in keys) < 5 * len(seeds)
    assert all(0 < bench.redis.ttl(key) <= TTL_S + records.TOMBSTONE_S for key in keys)
