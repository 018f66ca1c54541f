"""Dead letters and the reconciler against a real Valkey, for both clients."""

from __future__ import annotations

import time
from typing import Any

import pytest

from producer import records
from producer.contract import (
    BEHIND_KEYS,
    QUEUE,
    WAKE,
    WORKERS_KEY,
    JobStatus,
    Priority,
    SeedStatus,
    held_key,
    job_key,
    seeds_key,
    ticket,
)
from producer.errors import DeadLetterNotFound, ReplayRefused
from producer.message import ChunkMessage
from producer.reconcile import looks_complete
from tests.integration.conftest import Hand, message_in, over_redis
from worker import duties


def failed_job(client: Any, hand: Hand) -> Any:
    """A job of two chunks, of which one seed in the second failed, with its dead letter."""
    job = client.submit((1, 2, 3))
    hand.finish(job.id, (1, 2, 3), bad=(3,))
    assert job.refresh().status is JobStatus.FAILED
    return job


def test_a_failed_seed_leaves_a_dead_letter_that_says_why(client: Any, hand: Hand) -> None:
    job = failed_job(client, hand)
    (letter,) = client.dead_letters()
    assert client.dead_letter(letter.id) == letter
    assert (letter.job_id, letter.chunk, letter.seeds) == (job.id, 1, (3,))
    assert letter.failures == ({"seed": 3, "type": "ValueError", "message": "bad"},)
    assert "ValueError" in letter.reason


def test_a_replayed_dead_letter_makes_its_job_whole(client: Any, hand: Hand) -> None:
    job = failed_job(client, hand)
    before = client.queue().waiting
    (letter,) = client.dead_letters()
    assert client.replay(letter.id) == letter
    assert job.refresh().status is JobStatus.RUNNING
    assert (job.counts.succeeded, job.counts.failed, job.counts.queued) == (2, 0, 1)
    assert client.queue().waiting == before + 1
    assert client.dead_letters() == []
    hand.finish(job.id, (1, 2, 3))
    assert job.refresh().status is JobStatus.SUCCEEDED
    assert [result.status for result in job.results()] == [SeedStatus.SUCCEEDED] * 3


def test_a_letter_of_an_earlier_job_of_the_same_id_touches_no_other(client: Any, hand: Hand) -> None:
    hand.finish(client.submit((1, 2, 3), job_id="nightly").id, (1, 2, 3), bad=(3,))
    (letter,) = client.dead_letters()
    hand.client._redis.delete(job_key("nightly"))  # as time does
    job = client.submit((11, 12, 13), job_id="nightly")
    with pytest.raises(ReplayRefused, match="has expired"):
        client.replay(letter.id)
    hand.finish("nightly", (11, 12, 13))
    assert [result.seed for result in job.refresh().results()] == [11, 12, 13]


def test_a_dead_letter_is_replayed_once(client: Any, hand: Hand) -> None:
    failed_job(client, hand)
    (letter,) = client.dead_letters()
    client.replay(letter.id)
    with pytest.raises(DeadLetterNotFound, match=letter.id):
        client.replay(letter.id)


def test_a_dead_letter_of_an_expired_job_is_not_replayed_and_stays(client: Any, hand: Hand) -> None:
    job = failed_job(client, hand)
    hand.client._redis.hset(job_key(job.id), "expires_ms", 5)
    (letter,) = client.dead_letters()
    with pytest.raises(ReplayRefused, match="has expired"):
        client.replay(letter.id)
    assert client.dead_letters() == [letter]


def test_dead_letters_can_be_purged_one_by_one_or_all(client: Any, hand: Hand) -> None:
    for _ in range(4):
        failed_job(client, hand)
    newest, *_, oldest = client.dead_letters()
    assert len(client.dead_letters(limit=2)) == 2
    assert client.purge([oldest.id, "nobody"]) == 1
    assert client.purge([]) == 0
    assert newest in client.dead_letters()
    assert client.purge() == 3
    assert client.dead_letters() == []
    with pytest.raises(DeadLetterNotFound):
        client.dead_letter(oldest.id)


@over_redis
def test_chunks_whose_messages_are_gone_are_enqueued_again(client: Any, hand: Hand) -> None:
    redis = hand.client._redis
    lost, whole, ended = client.submit((1, 2, 3, 4, 5)), client.submit((6, 7, 8)), client.submit(9)
    assert len(hand.take()) == 6
    hand.finish(ended.id, (9,))
    hand.finish(lost.id, (1, 2, 3, 4, 5), chunks=1)
    messages = redis.lrange(Priority.BULK.lane, 0, -1)
    redis.delete(Priority.BULK.lane)
    redis.lpush(Priority.BULK.lane, *(text for text in reversed(messages) if whole.id in text))
    done = client.reconcile()
    assert (done.active_jobs, done.republished) == (2, 2)
    again = [message_in(text) for text in redis.lrange(Priority.BULK.lane, 0, -1)]
    assert sorted(m.task_id for m in again if m.job_id == lost.id) == [f"{lost.id}.{n}" for n in (1, 2)]
    assert sorted(m.seeds for m in again) == [(3, 4), (5,), (6, 7), (8,)]
    assert client.reconcile().republished == 0


@pytest.mark.parametrize("deleted", ["lane", "counts", "both"])
@pytest.mark.parametrize("sent", [0, 1])
def test_what_was_not_sent_when_a_lane_or_its_counts_were_deleted_is_sent_once(
    client: Any, hand: Hand, deleted: str, sent: int
) -> None:
    redis, lane, counts = hand.client._redis, Priority.BULK.lane, BEHIND_KEYS[-1]
    jobs = [client.submit(range(start, start + 7)) for start in (0, 100)]
    finished = [one for _ in range(sent) for one in hand.take(limit=2)]
    for message in finished:
        hand.record(message, ())
    redis.delete(*({"lane": [lane], "counts": [counts], "both": [lane, counts]}[deleted]))
    assert not looks_complete(redis)
    left = 2 * 4 - 2 * sent
    assert client.reconcile().republished == (0 if deleted == "counts" else left)
    assert (client.reconcile().republished, client.queue().waiting) == (
        0,
        left + (2 * sent if deleted == "counts" else 0),
    )
    assert redis.hgetall(counts) == {job.id: str(3 - sent) for job in jobs}
    chunks = [(message.job_id, message.chunk) for message in hand.take() if message not in finished]
    assert sorted(chunks) == sorted((job.id, number) for job in jobs for number in range(sent, 4))
    assert not redis.exists(counts)


def test_a_count_of_a_job_without_a_ticket_and_a_ticket_of_a_job_that_ended_are_taken_away(
    client: Any, hand: Hand
) -> None:
    redis, lane, counts = hand.client._redis, Priority.BULK.lane, BEHIND_KEYS[-1]
    redis.hset(counts, "nobody", 7)
    job = client.submit((1, 2, 3))
    hand.finish(job.id, (1, 2, 3))
    redis.hset(counts, job.id, 7)
    redis.lrem(lane, 0, ticket(job.id))
    other = client.submit((1, 2, 3))
    redis.hset(job_key(other.id), "status", "canceled")
    redis.lrem(lane, 0, ticket(other.id))
    redis.rpush(QUEUE, ticket(other.id))
    client.reconcile()
    assert redis.hgetall(counts) == {}
    assert hand.take() == []
    assert not redis.exists(lane, QUEUE)


@over_redis
def test_a_ticket_is_not_doubled_by_who_looks_while_it_moves(client: Any, hand: Hand) -> None:
    redis = hand.client._redis
    job = client.submit(range(5))
    for _ in range(2):
        assert hand.client._run(records.mend_ticket(job.id)) == 0
    assert redis.lrange(Priority.BULK.lane, 0, -1) == [ticket(job.id)]
    redis.delete(seeds_key(job.id), Priority.BULK.lane)
    assert hand.client._run(records.mend_ticket(job.id)) == 0, "there is nothing to send without its seeds"
    assert not redis.exists(Priority.BULK.lane)


@over_redis
def test_a_stand_in_is_not_taken_for_the_message_that_is_missing(client: Any, hand: Hand) -> None:
    redis = hand.client._redis
    client.submit((1, 2, 3, 4, 5))
    assert redis.lrange(QUEUE, 0, -1) == [WAKE]
    assert looks_complete(redis)
    redis.lpop(Priority.BULK.lane)
    assert not looks_complete(redis)


@over_redis
def test_workers_look_through_all_messages_now_and_then_even_if_their_number_is_right(client: Any, hand: Hand) -> None:
    redis, look = hand.client._redis, duties.reconciler(hand.client._redis)._call

    def minute() -> None:
        redis.delete(duties.RECONCILER_KEY)
        look()

    minute()
    client.submit((1, 2, 3))
    hand.take()
    redis.lset(Priority.BULK.lane, 0, "a message of somebody else")
    minute()
    assert redis.llen(Priority.BULK.lane) == 2, "the numbers are right"
    redis.delete(duties.RECONCILED_KEY)
    minute()
    assert redis.llen(Priority.BULK.lane) == 3


def test_a_job_whose_id_json_escapes_is_not_missing(client: Any, hand: Hand) -> None:
    redis = hand.client._redis
    for name in ("café", 'a"b', "a\\b"):
        message = ChunkMessage(name, name, 0, (1,))
        redis.lpush(QUEUE, message.encode())
        hand.begin(message, adopt=True)
    assert (client.reconcile().active_jobs, client.reconcile().republished) == (3, 0)


def test_a_clock_that_is_wrong_here_makes_no_job_forgotten(
    client: Any, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.submit(1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10**6)
    assert client.reconcile().forgotten == 0


@over_redis
def test_a_message_that_a_worker_holds_is_not_missing(client: Any, hand: Hand) -> None:
    job = client.submit(7)
    redis = hand.client._redis
    hand.take()
    text = str(redis.lpop(QUEUE))
    redis.zadd(WORKERS_KEY, {"w": 1})
    redis.hset(held_key("w"), "1.0", "0" + text)
    assert client.reconcile().republished == 0
    redis.delete(held_key("w"))
    assert client.reconcile().republished == 1
    assert redis.lrange(QUEUE, 0, -1) != []
    assert job.refresh().status is JobStatus.QUEUED
