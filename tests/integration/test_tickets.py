"""Tickets on a real Valkey: a job stands in its lane once, and its messages come into being when they are taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer import Client, records
from producer.connection import connect
from producer.contract import (
    BEHIND_KEYS,
    LANES,
    MAX_CHUNK_SIZE,
    MAX_SEED,
    QUEUE,
    JobStatus,
    Priority,
    job_key,
    result_key,
    seeds_key,
    ticket,
)
from tests.integration.conftest import message_in
from tests.support import messages_of
from worker.local.stack import Endpoints
from worker.queue.ledger import BACKWARDS_EVERY, Ledger, Taken

BULK = Priority.BULK.lane
MANY = 10**6
Make = Callable[..., Ledger]


@pytest.fixture
def client(quiet: Endpoints) -> Iterator[Client]:
    with Client(quiet.redis_url, chunk_size=4) as client:
        yield client


@pytest.fixture
def redis_(client: Client) -> Any:
    return client._redis


@pytest.fixture
def make(quiet: Endpoints) -> Iterator[Make]:
    made: list[Ledger] = []

    def ledger(limit: int = 1, seeds: int = MANY) -> Ledger:
        connection = connect(quiet.redis_url, decode=False, retries=0)
        made.append(Ledger(connection, limit=limit, seeds=seeds, result_ttl_s=60))
        return made[-1]

    yield ledger
    for ledger_ in made:
        ledger_.close()


def ids(taken: list[Taken]) -> list[str]:
    return [message_in(one.text).task_id for one in taken]


def take_ids(ledger: Ledger, times: int) -> list[str]:
    """Take and settle; returns the task ids in the order in which they came."""
    found = []
    for _ in range(times):
        taken = ledger.take()
        found += ids(taken)
        for one in taken:
            ledger.settle(one.tag)
    return found


LISTS = st.lists(st.integers(0, MAX_SEED), min_size=1, max_size=40).map(tuple)
SPANS = st.builds(
    lambda first, step, number: range(first, min(first + step * number, MAX_SEED + 1), step),
    st.integers(0, MAX_SEED),
    st.integers(1, 9) | st.integers(1, MAX_SEED),
    st.integers(1, 40),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds=LISTS | SPANS, size=st.integers(1, 50), priority=st.sampled_from(list(Priority)))
def test_what_is_taken_is_to_the_letter_what_would_have_been_sent(
    quiet: Endpoints, make: Make, seeds: Any, size: int, priority: Priority
) -> None:
    ledger = make(limit=100)
    with Client(quiet.redis_url, chunk_size=size) as client:
        client._redis.flushdb()
        job = client.submit(seeds, priority=priority)
        taken = ledger.take()
        wanted = messages_of(job.id, list(seeds), size, priority)
        assert [one.text.decode() for one in taken] == [message.encode() for message in wanted]
        assert [one.seeds for one in taken] == [len(message.seeds) for message in wanted]
        held: Any = client._redis.hgetall(ledger.key)
        assert held == {one.tag: f"{LANES.index(one.lane)}{one.text.decode()}" for one in taken}
        assert not client._redis.exists(*BEHIND_KEYS, priority.lane)
        assert client.queue().waiting == 0


def test_the_largest_chunk_is_written_out_whole(quiet: Endpoints, make: Make) -> None:
    with Client(quiet.redis_url, chunk_size=MAX_CHUNK_SIZE) as client:
        client.submit(tuple(range(MAX_SEED, MAX_SEED - 3000, -1)))
    first, second, third = (message_in(one.text).seeds for one in make(limit=9).take())
    assert first + second + third == tuple(range(MAX_SEED, MAX_SEED - 3000, -1))
    assert (len(first), len(second), len(third)) == (1024, 1024, 952)


def test_jobs_of_one_lane_take_turns(client: Client, make: Make) -> None:
    for job in "ab":
        client.submit(range(16), job_id=job)
    assert take_ids(make(limit=1), 8) == [f"{job}.{chunk}" for chunk in range(4) for job in "ab"]
    for job in "cd":
        client.submit(range(16), job_id=job)
    assert take_ids(make(limit=3), 3) == [f"{job}.{chunk}" for chunk in range(4) for job in "cd"]


def test_a_lone_seed_does_not_wait_for_a_long_job_of_its_lane(client: Client, make: Make) -> None:
    ledger = make(limit=2)
    client.submit(range(4000), job_id="long")
    assert take_ids(ledger, 3) == [f"long.{chunk}" for chunk in range(6)]
    client.submit(7, job_id="lone", priority=Priority.BULK)
    assert "lone" in take_ids(ledger, 1)
    assert client.queue().waiting == 1000 - 7


def test_what_comes_back_is_taken_before_the_tickets(client: Client, make: Make) -> None:
    ledger = make(limit=2)
    client.submit(range(16), job_id="j")
    for one in reversed(ledger.take()):
        ledger.give_back(one.tag)
    assert client.queue().waiting == 4
    assert take_ids(ledger, 2) == ["j.0", "j.1", "j.2", "j.3"]


def test_a_worker_takes_no_more_once_it_has_its_seeds_in_hand(client: Client, make: Make) -> None:
    ledger = make(limit=64, seeds=10)
    client.submit(range(400), job_id="j")
    taken = ledger.take()
    assert (ids(taken), [one.seeds for one in taken]) == (["j.0", "j.1", "j.2"], [4, 4, 4])
    assert (ledger.is_crowded, ledger.take()) == (True, [])
    ledger.settle(taken[0].tag)
    assert not ledger.is_crowded
    assert ids(ledger.take()) == ["j.3"]


def test_a_message_counts_as_one_seed_until_it_is_weighed(redis_: Any, make: Make) -> None:
    ledger = make(limit=64, seeds=10)
    redis_.lpush(QUEUE, *"abc")
    first, second, _ = ledger.take()
    assert (first.seeds, ledger.free) == (0, 7)
    ledger.weigh(first.tag, 9)
    assert ledger.free == 0
    ledger.settle(first.tag)
    ledger.weigh(first.tag, 9)
    assert ledger.free == 8
    ledger.weigh(second.tag, 3)
    assert ledger.free == 6


def test_long_messages_that_are_not_weighed_yet_are_not_all_taken_by_one(redis_: Any, make: Make) -> None:
    seeds = range(MAX_SEED - 10**6, MAX_SEED)
    texts = [message.encode() for message in messages_of("j", seeds, 500, Priority.INTERACTIVE)[:64]]
    redis_.lpush(QUEUE, *texts)
    assert len(make(limit=64, seeds=2000).take()) in range(4, 9)


def test_a_canceled_job_leaves_its_lane_at_once(client: Client, redis_: Any, make: Make) -> None:
    ledger = make()
    job, other = client.submit(range(40)), client.submit(range(8))
    ledger.take()
    job.cancel()
    assert redis_.lrange(BULK, 0, -1) == [ticket(other.id)]
    assert redis_.hgetall(BEHIND_KEYS[-1]) == {other.id: "1"}
    assert client.queue().waiting == 2


def test_who_waits_with_celery_for_a_canceled_job_that_nobody_took_is_told(client: Client, redis_: Any) -> None:
    job = client.submit(7)
    job.cancel()
    assert '"REVOKED"' in redis_.get(result_key(job.id))
    assert 0 < redis_.ttl(result_key(job.id)) <= client.settings.result_ttl_s
    long = client.submit(range(8)).cancel()
    assert not redis_.exists(result_key(f"{long.id}.0"), result_key(long.id))


@pytest.mark.parametrize("fate", ["expired", "canceled", "succeeded", "forgotten", "without seeds", "no record", "odd"])
def test_the_ticket_of_a_job_that_has_nothing_to_send_is_dropped(
    client: Client, redis_: Any, make: Make, fate: str
) -> None:
    job = client.submit(range(8), job_id="j")
    key = job_key(job.id)
    if fate == "expired":
        redis_.hset(key, "expires_ms", 5)
    elif fate in ("canceled", "succeeded"):
        redis_.hset(key, "status", fate)
    elif fate == "odd":
        redis_.hset(key, "sent", "many")
    else:
        redis_.delete(seeds_key(job.id) if fate == "without seeds" else key)
    if fate == "no record":
        redis_.set(key, "not a hash")
    client.submit(range(4), job_id="good", priority=Priority.BULK)
    assert ids(make(limit=9).take()) == ["good"]
    assert not redis_.exists(BULK, BEHIND_KEYS[-1])


@pytest.mark.parametrize("text", ["job ", "job a b", "job a.b", "jobs", "job\nj", "xjob j"])
def test_what_is_no_ticket_is_delivered_as_it_is(redis_: Any, make: Make, text: str) -> None:
    redis_.lpush(QUEUE, text)
    assert [one.text.decode() for one in make().take()] == [text]


def test_tickets_that_want_nothing_keep_redis_busy_for_no_longer_than_a_moment(
    client: Client, redis_: Any, make: Make
) -> None:
    ledger = make(limit=9)
    redis_.lpush(BULK, *(ticket(f"gone-{n}") for n in range(1500)))
    client.submit(range(4), job_id="good", priority=Priority.BULK)
    assert ledger.take() == []
    assert redis_.llen(QUEUE) == 1, "it is woken again"
    assert ids(ledger.take()) == ["good"]


def test_a_take_that_breaks_off_half_way_loses_no_chunk(client: Client, redis_: Any, make: Make) -> None:
    ledger, counts = make(limit=1), BEHIND_KEYS[-1]
    client.submit(range(12), job_id="j")
    redis_.delete(counts)
    redis_.set(counts, "no hash")
    for _ in range(2):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            ledger.take()
    redis_.delete(counts)
    ledger.beat({})
    assert client.reconcile().republished == 0
    assert client.queue().waiting == 3
    assert sorted(take_ids(ledger, 3)) == ["j.0", "j.1", "j.2"]
    assert not redis_.exists(counts, BULK)


def test_a_second_ticket_of_a_job_does_no_harm(client: Client, redis_: Any, make: Make) -> None:
    client.submit(range(12), job_id="j")
    redis_.lpush(BULK, ticket("j"))
    redis_.lpush(QUEUE, ticket("j"))
    assert sorted(take_ids(make(limit=1), 9)) == ["j.0", "j.1", "j.2"]
    assert not redis_.exists(*BEHIND_KEYS, *LANES)


def test_a_job_that_is_submitted_anew_after_its_record_is_gone_is_sent_once(
    client: Client, redis_: Any, make: Make
) -> None:
    client.submit(range(12), job_id="j")
    redis_.delete(job_key("j"))
    client.submit(range(4), job_id="j", priority=Priority.BULK)
    assert take_ids(make(limit=1), 4) == ["j"]
    assert not redis_.exists(*BEHIND_KEYS, *LANES)
    assert client.get("j").status is JobStatus.QUEUED


def test_a_job_is_expired_by_the_servers_clock(client: Client, redis_: Any) -> None:
    job = client.submit(7)
    seconds, microseconds = redis_.time()
    redis_.hset(job_key(job.id), "expires_ms", seconds * 1000 + microseconds // 1000 + 150)
    assert job.refresh().queue_position == 0
    time.sleep(0.2)
    assert job.refresh().status is JobStatus.EXPIRED
    assert job.queue_position is None


def test_urgent_seeds_are_taken_while_a_worker_has_its_hands_full_of_others(client: Client, make: Make) -> None:
    ledger = make(limit=64, seeds=32)
    client.submit(range(1024), job_id="bulk", priority="bulk")
    assert ids(ledger.take()) == [f"bulk.{number}" for number in range(8)]
    assert ledger.is_crowded
    assert ledger.take() == []
    for number in range(20):
        client.submit(5000 + number, job_id=f"urgent{number}")
    assert ids(ledger.take()) == [f"urgent{number}" for number in range(20)]
    assert ledger.free == 12, "they have as much room as all together"
    (message,) = client._redis.lrange(LANES[3], 0, -1)
    assert message == "job bulk", "and others wait"


@pytest.mark.parametrize("lane", [1, 2, 3])
def test_no_lane_starves_behind_those_that_always_have_messages(
    client: Client, redis_: Any, make: Make, lane: int
) -> None:
    ledger = make()
    client.submit(range(1000), job_id="urgent", priority="interactive")
    client.submit(range(1000), job_id="bulk", priority="bulk")
    text = records.message_of("foreign", [7], 0, chunk_size=1, priority=Priority.INTERACTIVE).encode()
    redis_.lpush(LANES[lane], text)
    if lane == 3:
        redis_.lrem(LANES[3], 0, "job bulk")
    assert "foreign" in take_ids(ledger, 3 * BACKWARDS_EVERY + 1)


def test_a_user_without_the_right_to_read_seeds_costs_no_ticket(client: Client, redis_: Any, quiet: Endpoints) -> None:
    client.submit(range(4), job_id="kept")
    redis_.execute_command("ACL", "SETUSER", "blind", "on", ">blind", "~*", "&*", "+@all", "-getrange")
    try:
        url = quiet.redis_url.replace("redis://", "redis://blind:blind@")
        ledger = Ledger(connect(url, decode=False, retries=0), limit=1, seeds=9, result_ttl_s=60)
        with pytest.raises(redis.ResponseError, match=r"NOPERM|permission"):
            ledger.take()
        assert "job kept" in [text for lane in LANES for text in redis_.lrange(lane, 0, -1)]
        ledger.close()
    finally:
        redis_.execute_command("ACL", "DELUSER", "blind")


def test_a_job_can_be_canceled_while_redis_has_no_memory_left(client: Client, redis_: Any) -> None:
    job = client.submit([*range(1000), 7], job_id="large")
    redis_.config_set("maxmemory", 1)
    try:
        job.cancel()
    finally:
        redis_.config_set("maxmemory", 0)
    assert client.get("large").status == "canceled"


def test_a_place_far_behind_is_told_as_that_far_at_least(
    client: Client, redis_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_PLACE", 5)
    for number in range(10):
        client.submit(number, job_id=f"place{number}", priority="bulk")
    assert [client.get(f"place{number}").queue_position for number in range(10)] == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5]
    assert client._read("place3", place=False).queue_position is None
