"""The ledger on a real Valkey: a message is always in exactly one place, whatever becomes of those who handle it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import redis

from producer.connection import NO_WRITES, connect
from producer.contract import (
    DEAD_KEY,
    LANES,
    MAX_MESSAGE_BYTES,
    QUEUE,
    SWEPT_KEY,
    WAKE,
    WORKER_FACTS_KEY,
    WORKERS_KEY,
    Priority,
    job_key,
    result_key,
)
from producer.queue import parse_queue_status, queue_status
from worker.local.stack import Endpoints
from worker.queue.burial import Burial
from worker.queue.ledger import BACKWARDS_EVERY, Ledger
from worker.queue.sweeper import DOUBT_S, GRACE_S

BULK = Priority.BULK.lane
Make = Callable[..., Ledger]


@pytest.fixture
def redis_(quiet: Endpoints) -> Iterator[Any]:
    client = connect(quiet.redis_url)
    while client.info("server")["uptime_in_seconds"] < GRACE_S:
        time.sleep(0.1)
    yield client
    client.close()


@pytest.fixture
def make(quiet: Endpoints) -> Iterator[Make]:
    made: list[Ledger] = []

    def ledger(limit: int = 4, lease_s: float = 20, seeds: int = 1000) -> Ledger:
        client = connect(quiet.redis_url, decode=False, retries=0)
        made.append(Ledger(client, limit=limit, seeds=seeds, result_ttl_s=60, lease_s=lease_s))
        return made[-1]

    yield ledger
    for ledger_ in made:
        ledger_.close()


def fill(redis_: Any, *texts: str, lane: str = QUEUE) -> None:
    for text in texts:
        redis_.lpush(lane, text)
    if not redis_.llen(QUEUE):
        redis_.rpush(QUEUE, WAKE)


def everything(redis_: Any, *ledgers: Ledger) -> list[str]:
    """Return all messages, wherever they are, in order of their text."""
    waiting = [text for lane in LANES for text in redis_.lrange(lane, 0, -1) if text != WAKE]
    held = [value[1:] for ledger in ledgers for value in redis_.hvals(ledger.key)]
    return sorted(waiting + held)


def test_messages_are_taken_in_order_as_many_as_there_is_room_for(redis_: Any, make: Make) -> None:
    ledger = make(limit=3)
    fill(redis_, *"abcde")
    taken = ledger.take()
    assert [message.text for message in taken] == [b"a", b"b", b"c"]
    assert (ledger.free, ledger.held, ledger.take()) == (0, 3, [])
    ledger.settle(taken[0].tag)
    assert [message.text for message in ledger.take()] == [b"d"]
    assert everything(redis_, ledger) == ["b", "c", "d", "e"]


def test_nothing_is_taken_once_that_is_stopped(redis_: Any, make: Make) -> None:
    ledger = make()
    fill(redis_, "a")
    ledger.stop_taking()
    assert (ledger.free, ledger.take()) == (0, [])
    assert everything(redis_) == ["a"]


def test_the_interactive_lane_comes_first_and_bulk_does_not_starve(redis_: Any, make: Make) -> None:
    ledger = make(limit=1)
    fill(redis_, *(f"bulk {n}" for n in range(4)), lane=BULK)
    fill(redis_, *(f"fast {n:02}" for n in range(20)))
    order = []
    for _ in range(2 * BACKWARDS_EVERY):
        (message,) = ledger.take()
        order.append(message.text.decode())
        ledger.settle(message.tag)
    assert [number for number, text in enumerate(order, 1) if text.startswith("bulk")] == [8, 16]
    assert [text for text in order if text.startswith("fast")] == [f"fast {n:02}" for n in range(14)]


def test_lanes_that_are_less_urgent_take_turns_at_coming_first(redis_: Any, make: Make) -> None:
    ledger = make(limit=1)
    fill(redis_, *(f"fast {n}" for n in range(40)))
    for lane in LANES[1:]:
        fill(redis_, *(f"{LANES.index(lane)}" for _ in range(4)), lane=lane)
    order = []
    for _ in range(4 * BACKWARDS_EVERY):
        (message,) = ledger.take()
        order.append(message.text.decode())
        ledger.settle(message.tag)
    assert {text for text in order if not text.startswith("fast")} == {"1", "2", "3"}


def test_while_any_lane_has_messages_the_first_one_is_not_empty(redis_: Any, make: Make) -> None:
    ledger = make(limit=2)
    fill(redis_, *"abcde", lane=BULK)
    for left in (3, 1):
        for message in ledger.take():
            ledger.settle(message.tag)
        assert (redis_.llen(BULK), redis_.lrange(QUEUE, 0, -1)) == (left, [WAKE])
    assert [message.text for message in ledger.take()] == [b"e"]
    assert redis_.llen(QUEUE) == 0


def test_a_message_given_back_is_the_next_in_its_lane(redis_: Any, make: Make) -> None:
    ledger = make(limit=2)
    fill(redis_, *"abc", lane=BULK)
    first, second = ledger.take()
    ledger.give_back(second.tag)
    ledger.give_back(first.tag)
    ledger.give_back(first.tag)
    assert redis_.lrange(BULK, 0, -1) == ["c", "b", "a"]
    assert ledger.free == 2


def test_settling_what_is_not_held_does_nothing(redis_: Any, make: Make) -> None:
    ledger = make()
    fill(redis_, "a")
    (message,) = ledger.take()
    ledger.settle("nonsense")
    ledger.give_back("nonsense")
    ledger.settle(message.tag)
    ledger.give_back(message.tag)
    assert everything(redis_, ledger) == []


def test_a_message_may_come_twice_and_each_is_settled_for_itself(redis_: Any, make: Make) -> None:
    ledger = make()
    fill(redis_, "a", "a")
    first, _ = ledger.take()
    ledger.settle(first.tag)
    assert everything(redis_, ledger) == ["a"]


def test_a_message_that_is_too_long_is_cut_where_it_is_taken(redis_: Any, make: Make) -> None:
    ledger = make()
    fill(redis_, "x" * (MAX_MESSAGE_BYTES + 5))
    (message,) = ledger.take()
    assert (message.size, len(message.text)) == (MAX_MESSAGE_BYTES + 5, MAX_MESSAGE_BYTES)


def test_a_queue_that_is_no_list_is_an_error_that_takes_nothing(redis_: Any, make: Make) -> None:
    ledger = make()
    redis_.set(QUEUE, "not a list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        ledger.take()
    assert ledger.held == 0


def test_a_full_redis_takes_nothing_from_anybody(redis_: Any, make: Make) -> None:
    ledger = make()
    fill(redis_, *"ab")
    redis_.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.ResponseError, match=NO_WRITES):
            ledger.take()
    finally:
        redis_.config_set("maxmemory", "0")
    assert everything(redis_, ledger) == ["a", "b"]
    assert len(ledger.take()) == 2


def test_what_came_in_a_reply_that_was_lost_goes_back(redis_: Any, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = make()
    fill(redis_, *"ab")
    run = ledger._run

    def lossy(*arguments: Any) -> Any:
        run(*arguments)
        raise redis.TimeoutError("the reply never came")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_run", lossy)
        with pytest.raises(redis.TimeoutError):
            ledger.take()
    assert redis_.hlen(ledger.key) == 2
    assert ledger.held == 0
    ledger.beat({})
    assert (redis_.hlen(ledger.key), redis_.llen(QUEUE)) == (0, 2)


def test_what_is_owed_to_redis_is_paid_after_an_outage(
    redis_: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = make()
    fill(redis_, *"abc")
    done, back, kept = ledger.take()

    def away() -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_pay", away)
        ledger.settle(done.tag)
        ledger.give_back(back.tag)
    assert redis_.hlen(ledger.key) == 3
    assert ledger.free == 3, "their places are free"
    ledger.beat({})
    assert redis_.hkeys(ledger.key) == [kept.tag]
    assert everything(redis_, ledger) == ["b", "c"]


def test_a_worker_that_lives_is_never_swept_however_long_it_works(redis_: Any, make: Make) -> None:
    slow, other = make(lease_s=0.4), make()
    fill(redis_, "a")
    slow.take()
    for _ in range(8):
        slow.beat({})
        time.sleep(0.1)
        assert other.sweep() == 0
    assert redis_.hlen(slow.key) == 1


def test_what_a_silent_worker_held_goes_back_when_its_lease_has_run_out(redis_: Any, make: Make) -> None:
    silent, other = make(lease_s=0.5), make()
    fill(redis_, "a", "b", lane=BULK)
    silent.take()
    assert other.sweep() == 0
    time.sleep(0.6)
    assert other.sweep() == 2
    assert other.sweep() == 0
    assert everything(redis_, silent, other) == ["a", "b"]
    assert redis_.lrange(QUEUE, 0, -1) == [WAKE]
    assert silent.id not in redis_.zrange(WORKERS_KEY, 0, -1)


def test_one_look_for_workers_that_are_gone_does_for_all_of_the_queue(redis_: Any, make: Make) -> None:
    silent, first, second = make(lease_s=0.3), make(), make()
    fill(redis_, "a")
    silent.take()
    assert first.sweep(60) == 0
    assert 0 < redis_.pttl(SWEPT_KEY) <= 60_000
    time.sleep(0.4)
    assert first.sweep(60) == second.sweep(60) == 0
    redis_.delete(SWEPT_KEY)  # as time would
    assert second.sweep(60) == 1


def test_a_worker_whose_connection_is_closed_is_swept_long_before_its_lease_ends(redis_: Any, make: Make) -> None:
    dead, other = make(lease_s=300), make()
    fill(redis_, "a")
    dead.beat({})
    dead.take()
    dead._redis.close()
    dead._redis.connection_pool.disconnect()
    started = time.monotonic()
    while not other.sweep():
        assert time.monotonic() - started < DOUBT_S + 3
        time.sleep(0.1)
    assert time.monotonic() - started > DOUBT_S - 0.5, "a short break of the connection is forgiven"
    assert everything(redis_) == ["a"]


def test_a_worker_that_comes_back_in_time_is_not_swept(redis_: Any, make: Make) -> None:
    back, other = make(lease_s=300), make()
    fill(redis_, "a")
    back.beat({})
    back.take()
    back._redis.connection_pool.disconnect()
    assert other.sweep() == 0
    back.beat({})
    time.sleep(DOUBT_S + 0.3)
    assert other.sweep() == 0


def test_where_connections_cannot_be_seen_leases_run_out_as_ever(
    redis_: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, other = make(lease_s=0.5), make()
    fill(redis_, "a")
    silent.beat({})
    silent.take()

    def refused(**_: Any) -> None:
        raise redis.ResponseError("NOPERM this user has no permissions to run the 'client|list' command")

    monkeypatch.setattr(other._redis, "client_list", refused)
    time.sleep(0.6)
    assert other.sweep() == 1


def test_a_worker_that_was_cut_off_itself_sweeps_nobody_for_a_while(redis_: Any, make: Make) -> None:
    silent, cut_off = make(lease_s=0.3), make(lease_s=0.6)
    fill(redis_, "a")
    silent.take()
    cut_off.beat({})
    time.sleep(0.7)
    cut_off.beat({})
    assert cut_off.sweep() == 0
    assert make().sweep() == 1


def test_where_another_server_has_taken_over_nobody_is_swept_for_a_while(
    redis_: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, first_there = make(lease_s=0.3), make()
    fill(redis_, "a")
    assert first_there.sweep() == 0
    silent.take()
    monkeypatch.setattr(first_there._redis, "info", lambda _: {"run_id": "another", "uptime_in_seconds": 100})
    time.sleep(0.4)
    assert first_there.sweep() == 0
    monkeypatch.setattr("worker.queue.sweeper.time.monotonic", lambda: first_there._sweeper._quiet_until)
    assert first_there.sweep() == 1


def test_leaving_gives_everything_back_and_is_final(redis_: Any, make: Make) -> None:
    ledger = make()
    fill(redis_, *"ab")
    ledger.beat({"pid": 1})
    taken = ledger.take()
    assert ledger.leave() == 2
    ledger.settle(taken[0].tag)
    assert everything(redis_, ledger) == ["a", "b"]
    assert ledger.take() == []
    assert redis_.exists(WORKERS_KEY, WORKER_FACTS_KEY) == 0


def test_buried_messages_are_dead_letters_and_their_waiters_are_told(redis_: Any, make: Make) -> None:
    ledger = make()
    fill(redis_, *"ab")
    known, unknown = ledger.take()
    ledger.bury(
        [
            Burial.of(known.tag, ValueError("bad"), task_id="t", raw="a", whole=True),
            Burial.of(unknown.tag, ValueError("worse"), task_id="", raw="b", whole=True),
        ]
    )
    assert redis_.hlen(DEAD_KEY) == 2
    assert '"FAILURE"' in redis_.get(result_key("t"))
    assert 0 < redis_.ttl(result_key("t")) <= 60
    assert not redis_.exists(result_key(""))
    assert (ledger.held, everything(redis_, ledger)) == (0, [])


@pytest.mark.parametrize(("task_id", "there"), [("t", "result:t"), ("t", "job:t"), ("t.12", "job:t")])
def test_the_result_of_somebody_else_is_not_written_by_a_burial(
    redis_: Any, make: Make, task_id: str, there: str
) -> None:
    ledger = make()
    fill(redis_, "a")
    (taken,) = ledger.take()
    if there == "result:t":
        redis_.set(result_key("t"), "good")
    else:
        redis_.hset(job_key("t"), "status", "queued")
    ledger.bury([Burial.of(taken.tag, ValueError("bad"), task_id=task_id, raw="a", whole=True)])
    assert redis_.get(result_key(task_id)) == ("good" if there == "result:t" else None)
    assert redis_.hlen(DEAD_KEY) == 1


def test_the_queue_is_seen_without_the_stand_in_and_with_what_is_held(redis_: Any, make: Make) -> None:
    ledger = make(limit=2)
    fill(redis_, *"abcd", lane=BULK)
    fill(redis_, "e")
    ledger.take()
    ledger.beat({"pid": 7})
    call = queue_status()
    seen = parse_queue_status(redis_.register_script(call.script)(keys=call.keys, args=call.args))
    assert (seen.waiting, seen.interactive, seen.held) == (3, 0, 2)
    assert [(worker["pid"], worker["id"]) for worker in seen.workers] == [(7, ledger.id)]


def test_a_signal_that_comes_while_the_ledger_is_asked_may_ask_it_too(make: Make) -> None:
    ledger, signals = make(), 0

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal signals
        signals += ledger.held + 1

    before = signal.signal(signal.SIGPROF, on_signal)
    signal.setitimer(signal.ITIMER_PROF, 0.0005, 0.0005)
    try:
        deadline = time.monotonic() + 30
        while signals <= 100 and time.monotonic() < deadline:
            assert ledger.free == ledger.limit
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert signals > 100
