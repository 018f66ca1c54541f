"""Where a job stands in the queue and how fast it goes, on a real Valkey, for both clients."""

from __future__ import annotations

from typing import Any

import pytest

from producer.contract import LANES, QUEUE, WAKE, Priority, job_key
from tests.integration.conftest import Hand, Make
from tests.support import messages_of
from worker.local.stack import Endpoints

SEEDS = tuple(range(10))


def positions(*jobs: Any) -> list[int | None]:
    return [job.refresh().queue_position for job in jobs]


def test_a_job_that_waits_knows_how_many_are_ahead_of_it(client: Any, hand: Hand) -> None:
    bulk = [client.submit(SEEDS) for _ in range(3)]
    assert positions(*bulk) == [0, 1, 2]
    fast = [client.submit(seed) for seed in (7, 8)]
    assert positions(*fast, *bulk) == [0, 1, 2, 3, 4], "a more urgent lane comes first"
    fast[0].cancel()
    assert positions(*fast, *bulk) == [None, 0, 1, 2, 3]


def test_the_stand_in_is_nobody(client: Any, hand: Hand) -> None:
    redis: Any = hand.client._redis
    bulk = client.submit(SEEDS)
    assert redis.lrange(QUEUE, 0, -1) == [WAKE]
    fast = client.submit(7)
    assert positions(fast, bulk) == [0, 1]
    redis.rpush(QUEUE, "a message that came back")
    assert positions(fast, bulk) == [1, 2]
    assert client.queue().waiting == 1 + 5 + 1


def test_messages_of_other_apps_are_ahead_as_well(client: Any, hand: Hand) -> None:
    redis: Any = hand.client._redis
    redis.lpush(LANES[1], "a message")
    redis.lpush(Priority.BULK.lane, "another")
    assert positions(client.submit(SEEDS)) == [2]
    redis.lpush(LANES[2], "a third", "a fourth")
    redis.lpush(Priority.BULK.lane, "behind it")
    assert positions(client.get(client.submit(SEEDS).id)) == [6]


def test_a_job_of_which_chunks_were_taken_has_none_ahead_and_one_that_runs_no_position(client: Any, hand: Hand) -> None:
    first, second = client.submit(SEEDS), client.submit(SEEDS)
    (message,) = hand.take(limit=1)
    assert (message.job_id, positions(first, second)) == (first.id, [0, 1])
    hand.begin(message)
    assert positions(first) == [None]


def test_a_job_whose_ticket_is_lost_has_no_position(client: Any, hand: Hand) -> None:
    job = client.submit(SEEDS)
    hand.client._redis.delete(Priority.BULK.lane)
    assert positions(job) == [None]


def test_a_user_who_may_only_read_can_poll(make: Make, client: Any, hand: Hand, quiet: Endpoints) -> None:
    redis: Any = hand.client._redis
    job = client.submit(SEEDS)
    rules = "on >secret resetchannels ~seedmill* -@all +@read +@connection +time +evalsha +script|load"
    redis.execute_command("ACL", "SETUSER", "reader", *rules.split())
    try:
        reader = make(redis_url=quiet.redis_url.replace("redis://", "redis://reader:secret@"))
        assert positions(reader.get(job.id)) == [0]
    finally:
        redis.execute_command("ACL", "DELUSER", "reader")


@pytest.fixture
def now_ms(hand: Hand) -> int:
    seconds, microseconds = hand.client._redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def test_a_running_job_tells_its_speed_and_the_time_left(client: Any, hand: Hand, now_ms: int) -> None:
    redis: Any = hand.client._redis
    job = client.submit(SEEDS)
    key = job_key(job.id)
    first, second, third, fourth, fifth = messages_of(job.id, SEEDS, 2, Priority.BULK)
    hand.begin(first)
    assert (job.refresh().seeds_per_s, job.eta_s) == (None, None), "no seed has ended"
    hand.record(first, ())
    redis.hset(key, "started_ms", now_ms - 10_000)
    assert job.refresh().seeds_per_s == pytest.approx(0.2, rel=0.1)
    assert job.eta_s == pytest.approx(8 / 0.2, rel=0.1)
    assert redis.hget(key, "newest_mark").endswith(":2")
    hand.record(second, ())
    assert redis.hget(key, "newest_mark").endswith(":2"), "the next mark has time"
    redis.hset(key, "newest_mark", f"{now_ms - 40_000}:2")
    hand.record(third, (4,))
    assert redis.hget(key, "mark") == f"{now_ms - 40_000}:2"
    assert redis.hget(key, "newest_mark").endswith(":6")
    assert job.refresh().seeds_per_s == pytest.approx(4 / 40, rel=0.1)
    assert job.eta_s == pytest.approx(4 / 0.1, rel=0.1)
    redis.hset(key, "mark", f"{now_ms - 400_000}:2")
    assert job.refresh().seeds_per_s == pytest.approx(4 / 400, rel=0.1), "nothing has ended for long"
    for message in (fourth, fifth):
        hand.record(message, ())
    assert (job.refresh().seeds_per_s, job.eta_s, job.queue_position) == (None, None, None)
    assert job.to_dict()["eta_s"] is None
