"""Tenants on a real Valkey: whose turn it is, what may wait, and which jobs there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

import pytest

from producer import Client, SettingsError, records
from producer.connection import connect
from producer.contract import (
    ACTIVE_KEY,
    BACKLOG_KEY,
    BACKLOG_SEEDS_KEY,
    BEHIND_KEYS,
    CHANGES_CHANNEL,
    EVENTS_KEY_PREFIX,
    JOBS_KEY,
    LANES,
    QUEUE,
    TENANT_JOBS_KEY_PREFIX,
    TURN_SEEDS,
    WEBHOOKS_KEY,
    JobStatus,
    Priority,
    job_key,
    turn,
)
from producer.queue_keys import queue_keys
from producer.reconcile import looks_complete
from producer.records import Backlog, Bounds, Entry, Events, Extras, JobPage
from producer.submission import Submission
from tests.integration.conftest import Hand, message_in
from worker.local.stack import Endpoints
from worker.queue.ledger import Ledger

BULK = LANES.index(Priority.BULK.lane)


class Submitter:
    """Enqueues for tenants."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.redis: Any = client._redis

    def submit(
        self,
        seeds: range,
        job: str,
        *,
        bounds: Bounds = records.NO_BOUNDS,
        priority: Priority = Priority.BULK,
        chunk_size: int = 2,
        **extras: str,
    ) -> int:
        settings = self.client.settings.model_copy(update={"chunk_size": chunk_size})
        submission = Submission.check(seeds, job, settings, priority, extras=Extras(**extras))
        return int(self.client._run(submission.call("", bounds)))

    def backlog(self, tenant: str = "") -> Backlog:
        return Backlog.parse(self.client._run(records.backlog(tenant)))

    def events(self, job: str, **options: Any) -> Events:
        return Events.parse(job, self.client._run(records.read_events(job, **options)), options.get("after", 0))

    def jobs(self, tenant: str | None = None, limit: int = 100) -> list[str]:
        """All jobs, read page by page."""
        found: list[str] = []
        after: str | None = None
        while True:
            call = records.list_jobs(tenant=tenant, after=after, limit=limit)
            page = JobPage.parse(self.client._run(call))
            found += [record.id for record in page.records]
            after = page.next
            if after is None:
                return found


@pytest.fixture
def on(quiet: Endpoints) -> Iterator[Submitter]:
    with Client(quiet.redis_url, chunk_size=2) as client:
        yield Submitter(client)


Take = Callable[[int], list[str]]


@pytest.fixture
def take(quiet: Endpoints) -> Iterator[Take]:
    """Takes messages one by one; returns the jobs that they are of."""
    connection = connect(quiet.redis_url, decode=False)
    ledger = Ledger(connection, limit=1, seeds=10**6, result_ttl_s=60)

    def take_(times: int) -> list[str]:
        jobs = []
        for _ in range(times):
            for one in ledger.take():
                jobs.append(message_in(one.text).job_id)
                ledger.settle(one.tag)
        return jobs

    yield take_
    ledger.close()


def seeds_of(jobs: list[str], on: Submitter) -> Counter[str]:
    """Return how many seeds came of each tenant, from the jobs of the messages in order."""
    sizes = {job: on.client.get(job) for job in set(jobs)}
    chunk = {job: -(-seen.counts.total // seen.record.chunks) for job, seen in sizes.items()}
    return Counter(dict.fromkeys({job.split("-")[0] for job in jobs}, 0)) + Counter(
        tenant for job in jobs for tenant in [job.split("-")[0]] * chunk[job]
    )


def test_tenants_get_equal_shares_of_seeds_whatever_the_number_and_size_of_their_jobs_and_messages(
    on: Submitter, take: Take
) -> None:
    for number in range(200):
        on.submit(range(1), f"many-{number}", tenant="many")
    on.submit(range(100_000), "large-0", tenant="large", chunk_size=1000)
    on.submit(range(1000), "small-0", tenant="small", chunk_size=7)
    taken: list[str] = []
    while len(taken) < 150:
        taken += take(1)
    shares = seeds_of(taken, on)
    assert shares["large"] == 1000, "one message, which is paid for by turns to come"
    assert abs(shares["many"] - shares["small"]) <= TURN_SEEDS
    rest = seeds_of(take(100), on)
    assert rest["large"] == 0


def test_who_is_alone_waits_for_no_turns(on: Submitter, take: Take) -> None:
    on.submit(range(10_000), "a", tenant="one", chunk_size=1000)
    assert take(10) == ["a"] * 10


def test_a_debt_is_remembered_when_the_next_job_comes(on: Submitter, take: Take) -> None:
    on.submit(range(320), "large-0", tenant="large", chunk_size=320)
    on.submit(range(1000), "small-0", tenant="small", chunk_size=32)
    assert take(2) == ["large-0", "small-0"]
    on.submit(range(320), "large-1", tenant="large", chunk_size=320)
    assert take(9) == ["small-0"] * 9
    assert "large-1" in take(2)


def test_jobs_that_want_nothing_any_more_cost_their_tenant_no_turn(on: Submitter, take: Take) -> None:
    for number in range(50):
        on.submit(range(1), f"expired-{number}", tenant="one")
        on.redis.hset(job_key(f"expired-{number}"), "expires_ms", 1)
    on.submit(range(1), "alive", tenant="one")
    on.submit(range(1000), "other", tenant="two", chunk_size=32)
    assert "alive" in take(2)


def test_jobs_of_one_tenant_take_turns_as_well(on: Submitter, take: Take) -> None:
    for job in ("a", "b", "c"):
        on.submit(range(4), job, tenant="one")
    assert take(7) == ["a", "b", "c", "a", "b", "c"]


def test_a_single_seed_waits_for_no_more_than_a_turn_of_another_tenant_that_has_a_thousand(
    on: Submitter, take: Take
) -> None:
    for number in range(1000):
        on.submit(range(1), f"many-{number}", tenant="many", priority=Priority.INTERACTIVE)
    take(5)
    on.submit(range(1), "one", tenant="one", priority=Priority.INTERACTIVE)
    assert "one" in take(TURN_SEEDS + 1)


def test_who_names_no_tenant_has_a_turn_for_each_job(on: Submitter, take: Take) -> None:
    on.submit(range(64), "a", tenant="one", chunk_size=32)
    on.submit(range(64), "b", tenant="one", chunk_size=32)
    on.submit(range(64), "c", chunk_size=32)
    assert take(6) == ["a", "c", "b", "c", "a", "b"]


def test_the_place_of_a_job_counts_a_round_of_the_lane_for_each_job_before_it(on: Submitter) -> None:
    for tenant in ("one", "two"):
        for number in range(3):
            on.submit(range(4), f"{tenant}-{number}", tenant=tenant)
    places = {job: on.client.get(job).queue_position for job in on.jobs()}
    assert places == {"one-0": 0, "two-0": 1, "one-1": 2, "two-1": 3, "one-2": 4, "two-2": 5}


def test_a_canceled_job_takes_its_tenants_turn_with_it_if_it_was_the_last(on: Submitter) -> None:
    on.submit(range(10), "a", tenant="one")
    on.submit(range(10), "b", tenant="one")
    on.client.cancel("a")
    assert on.redis.lrange(LANES[BULK], 0, -1) == [turn("one")]
    on.client.cancel("b")
    assert not on.redis.exists(LANES[BULK], queue_keys().turns(BULK, "one"), BEHIND_KEYS[BULK])
    assert on.client.queue().waiting == 0


@pytest.mark.parametrize("lost", [LANES[BULK], queue_keys().turns(BULK, "one"), BEHIND_KEYS[BULK]])
def test_the_reconciler_mends_what_is_lost_of_a_tenant(on: Submitter, take: Take, lost: str) -> None:
    on.submit(range(4), "a", tenant="one")
    on.submit(range(4), "b", tenant="one")
    on.redis.delete(lost)
    on.client.reconcile()
    assert on.client.queue().waiting == 4
    assert sorted(take(5)) == ["a", "a", "b", "b"]


def test_the_ticket_of_a_job_whose_record_has_gone_is_taken_away(on: Submitter) -> None:
    on.submit(range(4), "a", tenant="one")
    on.redis.delete(job_key("a"))
    on.client.reconcile()
    assert on.client.queue().waiting == 0
    assert not on.redis.exists(LANES[BULK], queue_keys().turns(BULK, "one"), BEHIND_KEYS[BULK])


def test_a_second_turn_of_a_tenant_goes_when_all_is_looked_through(on: Submitter, take: Take) -> None:
    on.submit(range(4), "a", tenant="one")
    on.redis.lpush(LANES[BULK], turn("one"), turn("nobody"))
    on.client.reconcile()
    assert on.redis.lrange(LANES[BULK], 0, -1) == [turn("one")]
    assert take(3) == ["a", "a"]


@pytest.mark.parametrize("junk", ["no ticket", "{}", "job "])
def test_junk_in_the_list_of_a_tenant_keeps_nobody_from_being_taken(on: Submitter, take: Take, junk: str) -> None:
    on.submit(range(1), "a", tenant="one")
    on.redis.rpush(queue_keys().turns(BULK, "one"), junk)
    on.submit(range(1), "b", tenant="two")
    assert "b" in take(3)


def test_a_key_that_is_no_list_keeps_nobody_from_being_taken(on: Submitter, take: Take) -> None:
    on.redis.set(queue_keys().turns(BULK, "one"), "text")
    on.redis.lpush(LANES[BULK], turn("one"))
    on.submit(range(1), "b", tenant="two")
    assert take(3) == ["b"]


def test_what_may_wait_is_bounded_and_nothing_is_enqueued_beyond(on: Submitter, hand: Hand) -> None:
    assert on.submit(range(6), "a", tenant="one", bounds=Bounds(seeds=10)) == records.MADE
    assert on.submit(range(5), "b", tenant="one", bounds=Bounds(seeds=10)) == records.SEEDS_FULL
    assert on.submit(range(5), "b", tenant="one", bounds=Bounds(bytes=2000)) == records.BYTES_FULL
    assert on.submit(range(5), "b", tenant="one", bounds=Bounds(share=10)) == records.SHARE_FULL
    assert on.submit(range(5), "c", tenant="two", bounds=Bounds(share=10)) == records.MADE
    assert on.submit(range(6), "a", tenant="one", bounds=Bounds(seeds=1)) == records.EXISTS
    assert on.jobs() == ["c", "a"]
    assert (on.backlog("one").seeds, on.backlog("one").tenant_seeds, on.backlog("two").tenant_seeds) == (11, 6, 5)
    hand.finish("a", tuple(range(6)), chunks=2)
    seen = on.backlog("one")
    assert (seen.seeds, seen.ended, seen.tenant_seeds, seen.tenant_ended) == (7, 4, 2, 4)


def test_a_job_is_its_tenants_alone(on: Submitter) -> None:
    assert on.submit(range(6), "a", tenant="one") == records.MADE
    assert on.submit(range(6), "a", tenant="one") == records.EXISTS
    assert on.submit(range(6), "a", tenant="two") == records.CONFLICT
    assert on.submit(range(6), "a") == records.CONFLICT
    assert on.client.get("a").record.tenant == "one"


def test_a_job_keeps_what_was_noted_with_it(on: Submitter) -> None:
    on.submit(range(2), "a", metadata='{"user": "ann"}', webhook="https://example.com/hook")
    record = on.client.get("a").record
    assert (record.metadata, record.webhook, record.priority) == (
        {"user": "ann"},
        "https://example.com/hook",
        Priority.BULK,
    )
    assert record.to_dict()["metadata"] == {"user": "ann"}


def test_an_expired_job_leaves_the_backlog(on: Submitter) -> None:
    on.submit(range(6), "a", tenant="one")
    on.redis.hset(job_key("a"), "expires_ms", 1)
    assert on.client.reconcile().forgotten == 1
    assert (on.backlog("one").seeds, on.backlog("one").tenant_seeds, on.backlog("one").bytes) == (0, 0, 0)
    assert on.events("a").entries[-1].status is JobStatus.EXPIRED
    assert on.client.get("a").status is JobStatus.EXPIRED


def test_a_backlog_that_went_wrong_is_counted_again(on: Submitter) -> None:
    on.submit(range(6), "a", tenant="one")
    on.submit(range(3), "b")
    right = on.redis.hgetall(BACKLOG_KEY)
    own = on.redis.hgetall(BACKLOG_SEEDS_KEY)
    on.redis.hset(BACKLOG_KEY, mapping={"seeds": 7, "bytes": -5})
    on.redis.hset(BACKLOG_SEEDS_KEY, mapping={"one": 99, "gone": 3})
    on.client.reconcile()
    assert (on.redis.hgetall(BACKLOG_KEY), on.redis.hgetall(BACKLOG_SEEDS_KEY)) == (right, own)


def test_the_backlog_is_counted_again_when_the_record_of_a_job_has_gone(on: Submitter) -> None:
    on.submit(range(6), "a", tenant="one")
    on.submit(range(3), "b", tenant="one")
    on.redis.delete(job_key("a"))
    assert looks_complete(on.redis)
    assert (on.backlog("one").seeds, on.backlog("one").tenant_seeds) == (3, 3)


def test_nothing_is_left_over_once_no_job_is_active(on: Submitter) -> None:
    on.redis.hset(BACKLOG_KEY, mapping={"seeds": 7, "bytes": 5})
    on.redis.hset(BACKLOG_SEEDS_KEY, mapping={"one": 99, "other": 99})
    assert on.submit(range(6), "a", tenant="one", bounds=Bounds(seeds=6, share=6)) == records.MADE
    assert (on.backlog("one").seeds, on.backlog("one").tenant_seeds) == (6, 6)


def test_the_backlog_falls_again_by_what_a_replay_makes_anew(on: Submitter, hand: Hand) -> None:
    on.submit(range(4), "a", tenant="one")
    hand.finish("a", tuple(range(4)), bad=(1,))
    assert on.backlog("one").tenant_seeds == 0
    (letter,) = on.client.dead_letters()
    on.client.replay(letter.id)
    assert on.backlog("one").tenant_seeds == 2
    hand.finish("a", tuple(range(4)))
    assert (on.backlog("one").tenant_seeds, on.backlog().bytes) == (0, 0)
    statuses = [entry.status for entry in on.events("a").entries if entry.status]
    running, failed, succeeded = JobStatus.RUNNING, JobStatus.FAILED, JobStatus.SUCCEEDED
    assert statuses == [running, failed, running, succeeded]


def test_the_log_of_a_job_has_every_chunk_and_status_once(on: Submitter, hand: Hand) -> None:
    on.submit(range(5), "a")
    assert on.events("a").entries == []
    hand.finish("a", tuple(range(5)))
    entries = on.events("a").entries
    running, succeeded = JobStatus.RUNNING, JobStatus.SUCCEEDED
    assert [(entry.chunk, entry.status) for entry in entries] == [
        (None, running),
        (0, None),
        (1, None),
        (2, succeeded),
    ]
    for number, entry in enumerate(entries):
        assert on.events("a", after=entry.number).entries == entries[number + 1 :]
    assert on.events("a", limit=2).entries == entries[:2]
    assert 0 < on.redis.pexpiretime(EVENTS_KEY_PREFIX + "a") <= on.redis.pexpiretime(job_key("a"))


def test_the_log_of_a_canceled_job_ends_so(on: Submitter) -> None:
    on.submit(range(5), "a")
    on.client.cancel("a")
    assert on.events("a").entries == [Entry(1, None, JobStatus.CANCELED)]


def test_every_change_of_a_job_is_published(on: Submitter, hand: Hand) -> None:
    listener: Any = on.redis.pubsub()
    listener.subscribe(CHANGES_CHANNEL)
    assert listener.get_message(timeout=5)["type"] == "subscribe"

    def heard(act: Callable[[], object]) -> set[str]:
        act()
        on.redis.publish(CHANGES_CHANNEL, "the end of it")
        news = (message["data"] for message in listener.listen())
        return set(takewhile(lambda data: data != "the end of it", news))

    assert heard(lambda: on.submit(range(2), "a")) == {"a"}
    assert heard(lambda: hand.finish("a", (0, 1))) == {"a"}
    assert heard(lambda: on.submit(range(2), "b")) == {"b"}
    assert heard(lambda: on.client.cancel("b")) == {"b"}
    listener.close()


def test_the_end_of_a_job_with_a_webhook_is_due_and_no_other(on: Submitter, hand: Hand) -> None:
    on.submit(range(2), "a", webhook="https://example.com/")
    on.submit(range(2), "b")
    on.submit(range(2), "c", webhook="https://example.com/")
    hand.finish("a", (0, 1))
    hand.finish("b", (0, 1))
    assert on.redis.zrange(WEBHOOKS_KEY, 0, -1) == ["a"]
    on.client.cancel("c")
    assert sorted(on.redis.zrange(WEBHOOKS_KEY, 0, -1)) == ["a", "c"]


def test_jobs_are_listed_newest_first_page_by_page(on: Submitter) -> None:
    names = [f"j{number:02}" for number in range(25)]
    for name in names:
        on.submit(range(1), name, tenant="odd" if int(name[1:]) % 2 else "even")
    assert on.jobs(limit=4) == on.jobs(limit=25) == on.jobs() == names[::-1]
    assert on.jobs("odd", limit=5) == names[::-1][1::2]
    assert on.jobs("nobody") == []


def test_jobs_whose_record_has_gone_are_listed_no_more(on: Submitter) -> None:
    for name in "abcdef":
        on.submit(range(1), name, tenant="one")
    on.redis.delete(job_key("a"), job_key("c"), job_key("f"))
    assert on.jobs(limit=2) == on.jobs("one") == ["e", "d", "b"]


def test_lists_of_jobs_do_not_grow_though_the_oldest_live_for_ever(on: Submitter) -> None:
    on.submit(range(1), "old", tenant="one")
    for number in range(300):
        on.submit(range(1), f"j{number}", tenant="one")
        on.redis.delete(job_key(f"j{number}"))
    assert on.redis.zcard(JOBS_KEY) < 10
    assert on.redis.zcard(TENANT_JOBS_KEY_PREFIX + "one") < 10
    assert on.redis.pttl(TENANT_JOBS_KEY_PREFIX + "one") > 0


def test_the_end_of_the_list_is_not_told_where_a_thousand_have_gone(on: Submitter) -> None:
    on.submit(range(1), "alive")
    gone = {f"gone-{number}": 2**42 for number in range(1500)}
    on.redis.zadd(JOBS_KEY, gone)
    assert on.jobs(limit=10) == ["alive"]


@pytest.mark.parametrize("after", ["", "x", ":", "1:", ":a", "1.5:a", "-1:a", "1" * 16 + ":a", "\u0663:a", "5"])
def test_what_is_no_cursor_is_refused(after: str) -> None:
    with pytest.raises(SettingsError, match="give the 'next' of the page before"):
        records.list_jobs(after=after)


def test_a_page_goes_on_where_the_last_one_ended_though_its_last_job_has_gone(on: Submitter) -> None:
    for name in "abcd":
        on.submit(range(1), name)
    page = JobPage.parse(on.client._run(records.list_jobs(limit=2)))
    assert [record.id for record in page.records] == ["d", "c"]
    on.redis.zrem(JOBS_KEY, "c")
    rest = JobPage.parse(on.client._run(records.list_jobs(after=page.next, limit=5)))
    assert [record.id for record in rest.records][-2:] == ["b", "a"]


def test_a_job_that_came_as_a_message_is_listed_counted_and_logged(on: Submitter, hand: Hand) -> None:
    on.submit(range(2), "a")
    (message,) = hand.take()
    on.redis.flushdb()
    hand.begin(message, adopt=True)
    assert on.jobs() == ["a"]
    assert on.backlog().seeds == 2
    assert [entry.status for entry in on.events("a").entries] == [JobStatus.RUNNING]
    assert on.redis.zcard(ACTIVE_KEY) == 1
    assert on.redis.llen(QUEUE) == 0
