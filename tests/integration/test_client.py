"""The client against a real Valkey: one suite for the blocking and the asyncio client, over Redis and over HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from producer import AsyncClient, Client
from producer.contract import (
    QUEUE,
    JobStatus,
    Priority,
    SeedStatus,
    result_key,
)
from producer.errors import (
    InvalidJobId,
    InvalidSeed,
    JobConflict,
    JobFailed,
    JobNotFound,
    JobTimeout,
    QueueRefused,
    QueueUnreachable,
    ResultsLost,
    SettingsError,
)
from tests.integration.conftest import Hand, Make
from worker.local.process import free_port
from worker.local.stack import Endpoints


@pytest.mark.parametrize(("seeds", "total"), [(7, 1), ([7, 8, 9], 3), (range(10), 10), ({3, 1}, 2)])
def test_a_seed_a_list_and_a_range_are_jobs(client: Any, seeds: Any, total: int) -> None:
    job = client.submit(seeds)
    assert job.status is JobStatus.QUEUED
    assert job.counts.total == job.counts.queued == total
    assert client.queue().waiting == -(-total // 2)


@pytest.mark.parametrize("seeds", [-1, 2**32, True, 1.5, "7", None, [], [1, -1], [1, 2, "x"], range(5, 2), range(0)])
def test_bad_seeds_enqueue_nothing_at_all(client: Any, seeds: Any) -> None:
    with pytest.raises(InvalidSeed):
        client.submit(seeds)
    assert client.queue().waiting == 0


@pytest.mark.parametrize("job_id", ["", "a b", "a.b", "x" * 65, "ü", "a\n", 5, b"a"])
def test_ids_of_the_callers_own_are_checked(client: Any, job_id: Any) -> None:
    with pytest.raises(InvalidJobId):
        client.submit(1, job_id=job_id)
    assert client.queue().waiting == 0


def test_a_repeated_submit_under_one_id_is_one_job(client: Any) -> None:
    first, again = (client.submit(range(3), job_id="mine") for _ in range(2))
    assert first.id == again.id == "mine"
    assert client.queue().waiting == 2


def test_an_id_that_has_other_seeds_is_refused_and_nothing_is_enqueued(client: Any) -> None:
    client.submit(range(3), job_id="mine")
    assert client.submit([0, 1, 2], job_id="mine").counts.total == 3
    for seeds in (range(4), [0, 1, 3], [0, 2, 1], 0):
        with pytest.raises(JobConflict, match="'mine'"):
            client.submit(seeds, job_id="mine")
    assert client.queue().waiting == 2


def test_an_unknown_id_is_not_found_and_never_queued(client: Any) -> None:
    for call in (client.get, client.wait, client.cancel):
        with pytest.raises(JobNotFound, match="nobody"):
            call("nobody")


@pytest.mark.parametrize("job_id", [None, 5, "", "\ud800", "x" * 300, "a\n"])
def test_what_can_be_no_id_is_not_found(client: Any, job_id: Any) -> None:
    with pytest.raises(JobNotFound):
        client.get(job_id)


def test_a_job_of_too_many_messages_is_refused_before_redis_is_kept_busy(make: Make) -> None:
    client = make(chunk_size=1)
    with pytest.raises(SettingsError, match="100000 messages"):
        client.submit(range(100_000))
    assert client.queue().waiting == 0


def test_results_that_redis_has_lost_are_told_and_not_left_out(client: Any, hand: Hand) -> None:
    job = client.submit((1, 2, 3))
    hand.finish(job.id, (1, 2, 3))
    hand.client._redis.delete(result_key(f"{job.id}.0"))
    with pytest.raises(ResultsLost):
        list(job.refresh().results())


def test_waiting_ends_when_the_job_does(client: Any, hand: Hand) -> None:
    job = client.submit((1, 2, 3))
    hand.finish(job.id, (1, 2, 3))
    assert job.wait(timeout=5).status is JobStatus.SUCCEEDED
    assert client.wait(job.id, timeout=5).counts.succeeded == 3


def test_a_wait_ends_when_the_job_does_and_not_when_its_answer_was_due(client: Any, hand: Hand) -> None:
    job = client.submit((1, 2))
    timer = threading.Timer(0.6, hand.finish, (job.id, (1, 2)))
    began = time.monotonic()
    timer.start()
    assert job.wait(timeout=20).status is JobStatus.SUCCEEDED
    assert time.monotonic() - began < 5
    timer.join()


def test_whoever_watches_sees_the_job_until_it_has_ended(client: Any, hand: Hand) -> None:
    job = client.submit((1, 2))
    hand.finish(job.id, (1, 2))
    assert [seen.status for seen in job.watch(timeout=5)] == [JobStatus.SUCCEEDED]


def test_all_ways_tell_the_same_of_a_job(client: Any, hand: Hand) -> None:
    note = {"order": 7, "who": "\N{SNOWMAN}", "parts": [1, None, {"a": True}]}
    job = client.submit((1, 2, 3), metadata=note, priority="interactive", force=True)
    hand.finish(job.id, (1, 2, 3), bad=(3,))
    seen = client.get(job.id)
    assert (seen.metadata, seen.priority) == (note, Priority.INTERACTIVE)
    assert seen.to_dict() == hand.client.get(job.id).to_dict()
    assert list(seen.results()) == list(hand.client.get(job.id).results())
    assert client.queue() == hand.client.queue()
    assert client.dead_letters() == hand.client.dead_letters()


def test_what_cannot_be_kept_with_a_job_enqueues_nothing(client: Any) -> None:
    for options in ({"metadata": [7]}, {"metadata": {"a": "x" * 8192}}, {"webhook": "shop.example"}):
        with pytest.raises(SettingsError, match=next(iter(options))):
            client.submit(1, **options)
    assert client.queue().waiting == 0


def test_waiting_too_long_raises_and_the_job_goes_on(client: Any) -> None:
    job = client.submit((1, 2, 3))
    with pytest.raises(JobTimeout) as caught:
        job.wait(timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    assert job.refresh().status is JobStatus.QUEUED


@pytest.mark.parametrize("timeout", [float("nan"), -1, "5"])
def test_a_timeout_that_is_none_is_refused(client: Any, timeout: Any) -> None:
    job = client.submit(1)
    with pytest.raises(SettingsError, match=f"timeout={timeout!r}"):
        job.wait(timeout)


def test_a_failed_job_raises_with_its_results_at_hand(client: Any, hand: Hand) -> None:
    job = client.submit((1, 2, 3))
    hand.finish(job.id, (1, 2, 3), bad=(2,))
    with pytest.raises(JobFailed, match="1 failed") as caught:
        job.wait(timeout=5)
    assert caught.value.job.counts.failed == 1
    results = list(job.wait(check=False).results())
    assert [(r.seed, r.status) for r in results] == [
        (1, SeedStatus.SUCCEEDED),
        (2, SeedStatus.FAILED),
        (3, SeedStatus.SUCCEEDED),
    ]


def test_results_of_a_running_job_are_those_that_are_there(client: Any, hand: Hand) -> None:
    job = client.submit((1, 2, 3))
    hand.finish(job.id, (1, 2, 3), chunks=1)
    assert [result.caption for result in job.results()] == ["caption of 1", "caption of 2"]


def test_results_of_many_chunks_come_page_by_page_in_order(client: Any, hand: Hand) -> None:
    seeds = tuple(range(500, 0, -1))
    job = client.submit(seeds)
    hand.finish(job.id, seeds)
    assert [result.seed for result in job.refresh().results()] == list(seeds)


def test_a_canceled_job_says_so_and_raises_when_waited_for(client: Any) -> None:
    job = client.submit((1, 2, 3)).cancel()
    assert job.status is JobStatus.CANCELED
    assert job.counts.canceled == 3
    assert client.cancel(job.id).status is JobStatus.CANCELED
    with pytest.raises(JobFailed, match="canceled"):
        job.wait(timeout=1)


def test_canceling_a_job_that_has_ended_changes_nothing(client: Any, hand: Hand) -> None:
    job = client.submit((1, 2, 3))
    hand.finish(job.id, (1, 2, 3))
    assert job.cancel().status is JobStatus.SUCCEEDED


def test_a_server_that_is_not_there_is_named_without_its_password(make: Make) -> None:
    port = free_port()
    client = make(redis_url=f"redis://me:hush@127.0.0.1:{port}/0")
    with pytest.raises(QueueUnreachable, match=str(port)) as caught:
        client.submit(1)
    assert isinstance(caught.value, ConnectionError)
    assert "hush" not in str(caught.value)


def test_a_refusal_of_the_server_is_told_as_one(make: Make, endpoints: Endpoints) -> None:
    client = make(redis_url=endpoints.redis_url.replace("redis://", "redis://nobody:wrong@"))
    with pytest.raises(QueueRefused, match="SEEDMILL_REDIS_URL"):
        client.submit(1)


def test_settings_that_cannot_be_used_are_told_at_once(make: Make) -> None:
    with pytest.raises(SettingsError, match="chunk_size=0"):
        make(chunk_size=0)


def test_both_clients_have_the_same_names() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)
    assert QUEUE == "seedmill"


def test_both_clients_close_with_their_block(quiet: Endpoints) -> None:
    async def through_async() -> str:
        async with AsyncClient(quiet.redis_url) as client:
            return (await client.submit(5)).id

    with Client(quiet.redis_url) as client:
        assert client.get(asyncio.run(through_async())).counts.total == 1


def test_small_jobs_are_interactive_and_long_ones_bulk_unless_told_otherwise(client: Any) -> None:
    client.submit((1, 2))
    client.submit((1, 2, 3))
    client.submit((1, 2), priority="bulk")
    client.submit((1, 2, 3), priority=Priority.INTERACTIVE)
    status = client.queue()
    assert (status.waiting, status.interactive) == (6, 3)
    with pytest.raises(SettingsError, match="priority='urgent': use interactive or bulk"):
        client.submit(1, priority="urgent")
    assert client.queue().waiting == 6


@pytest.mark.parametrize("force", ["yes", "0", 1, None])
def test_force_is_true_or_false_and_nothing_else(client: Any, force: Any) -> None:
    with pytest.raises(SettingsError, match=f"force={force!r}: use True or False"):
        client.submit(1, force=force)
    assert client.queue().waiting == 0
