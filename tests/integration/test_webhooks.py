"""Webhooks from the end of a job to its receiver, on a real Valkey and real TLS connections."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from standardwebhooks import Webhook

from producer import DeadLetterNotFound, JobStatus, __version__
from producer.api.documents import summary
from producer.api.webhooks import delivery, store
from producer.api.webhooks.admin import WebhookAdmin
from producer.api.webhooks.delivery import WebhookSender
from producer.api.webhooks.egress import Egress
from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.store import Claim, DeadWebhook
from producer.connection import connect_async
from producer.contract import (
    WEBHOOK_DEAD_INDEX_KEY,
    WEBHOOK_DEAD_KEY,
    WEBHOOKS_KEY,
    job_key,
)
from producer.errors import ReplayRefused
from producer.records import Extras
from producer.submission import Submission
from tests.integration.conftest import Hand
from tests.integration.receiver import HANG, NAME, Authority, Resolver, answer, here, receiving, until
from worker.local.stack import Endpoints

SEEDS = (1, 2, 3)


class Play:
    """Everything between a job that ends and its receiver."""

    def __init__(self, hand: Hand, redis: Redis, settings: WebhookSettings) -> None:
        self.hand = hand
        self.redis = redis
        self.settings = settings
        self.admin = WebhookAdmin(settings, redis)

    def submit(self, job: str, url: str, tenant: str = "alice") -> None:
        """Enqueue a job that has a webhook."""
        extras = Extras(tenant=tenant, webhook=url)
        submission = Submission.check(SEEDS, job, self.hand.client.settings, extras=extras)
        assert self.hand.client._run(submission.call("")) == 1

    def end(self, job: str, url: str, *, tenant: str = "alice", bad: tuple[int, ...] = ()) -> None:
        """Enqueue a job that has a webhook, and end it."""
        self.submit(job, url, tenant)
        self.hand.finish(job, SEEDS, bad=bad)

    @asynccontextmanager
    async def sending(
        self, *, resolver: Resolver | None = None, delays_s: tuple[float, ...] = (), total_s: float = 5
    ) -> AsyncIterator[WebhookSender]:
        """A sender while it runs."""
        way_out = Egress(self.settings, resolve=resolver or here(), total_s=total_s)
        sender = WebhookSender(self.settings, self.redis, egress=way_out, delays_s=delays_s)
        task = asyncio.create_task(sender.run())
        try:
            yield sender
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def settled(self) -> None:
        """Wait until nothing is due or under way."""
        async with asyncio.timeout(10):
            while await self.redis.exists(WEBHOOKS_KEY):
                await asyncio.sleep(0.005)

    async def attempts(self, job: str) -> str:
        """What is noted of the deliveries that have failed, "" for nothing."""
        return str(await self.redis.hget(job_key(job), "webhook_attempts") or "")


Act = Callable[[Play], Awaitable[None]]


@pytest.fixture
def act(hand: Hand, quiet: Endpoints, authority: Authority) -> Callable[..., None]:
    """Run what a test does, with everything that it needs."""

    def run(play: Act, **options: Any) -> None:
        async def whole() -> None:
            redis = connect_async(quiet.redis_url)
            given = {"webhook_allowed_hosts": "127.0.0.0/8", "webhook_ca_file": authority.path, **options}
            try:
                await play(Play(hand, redis, WebhookSettings(redis_url=quiet.redis_url, **given)))
            finally:
                await redis.aclose()

        asyncio.run(whole())

    return run


Run = Callable[..., None]


@pytest.mark.parametrize(("bad", "kind"), [((), "job.completed"), ((2,), "job.failed")])
def test_the_end_of_a_job_is_told_once_and_can_be_verified(
    act: Run, authority: Authority, bad: tuple[int, ...], kind: str
) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority) as receiver, stage.sending():
            stage.end("nightly", receiver.url, bad=bad)
            await stage.settled()
        (got,) = receiver.got
        (secret,) = await stage.admin.secrets_of("alice")
        facts = Webhook(secret).verify(got.body, got.headers)
        record = stage.hand.client.get("nightly").record
        assert facts["type"] == kind
        assert record.completed_at is not None
        assert facts["timestamp"] == record.completed_at.isoformat()
        more = {"webhook": record.webhook, "error": summary(record)}
        assert facts["data"] == {**record.to_dict(), **more}, "as the API has it"
        assert (got.headers["content-type"], got.headers["user-agent"]) == (
            "application/json",
            f"seedmill/{__version__}",
        )
        assert got.body == json.dumps(facts, separators=(",", ":")).encode()

    act(play)


def test_a_job_that_is_cancelled_is_told_of_too(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority) as receiver, stage.sending():
            stage.submit("nightly", receiver.url)
            stage.hand.client.cancel("nightly")
            await stage.settled()
        assert [json.loads(got.body)["type"] for got in receiver.got] == ["job.canceled"]

    act(play)


def test_what_fails_is_sent_again_as_the_same_event(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority, answer(500), answer(503)) as receiver, stage.sending(delays_s=(0, 0, 0)):
            stage.end("nightly", receiver.url)
            await stage.settled()
        assert len(receiver.got) == 3
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
        assert len({got.body for got in receiver.got}) == 1
        assert (await stage.admin.dead(), await stage.attempts("nightly")) == ([], "")

    act(play)


def test_an_attempt_that_failed_is_not_repeated_before_its_time(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority, answer(500)) as receiver, stage.sending(delays_s=(60,)):
            stage.end("nightly", receiver.url)
            await until(lambda: len(receiver.got) == 1)
        assert (await stage.attempts("nightly")).endswith(":1")
        seconds, microseconds = await stage.redis.time()
        due = float(await stage.redis.zscore(WEBHOOKS_KEY, "nightly") or 0)
        assert 58 < due / 1000 - seconds - microseconds / 1e6 < 67

    act(play)


def test_what_fails_too_often_is_kept_and_can_be_sent_again_or_forgotten(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        redirect = answer(307, "location: https://10.0.0.1/")
        async with receiving(authority, redirect, redirect, redirect) as receiver:
            stage.end("nightly", receiver.url)
            async with stage.sending(delays_s=(0,)):
                await stage.settled()
            (letter,) = await stage.admin.dead()
            assert letter == DeadWebhook(
                id=receiver.got[0].headers["webhook-id"],
                job_id="nightly",
                url=receiver.url.partition("?")[0],
                event="job.completed",
                attempts=2,
                last_error="the receiver answered with status 307",
                at=letter.at,
                tenant="alice",
            )
            assert await stage.admin.replay(letter.id) == letter
            assert await stage.admin.dead() == []
            with pytest.raises(DeadLetterNotFound, match="seedmill webhooks dead"):
                await stage.admin.replay(letter.id)
            async with stage.sending(delays_s=(0,)):
                await stage.settled()
        assert [got.path for got in receiver.got] == ["/hook?token=hush"] * 4
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
        assert await stage.admin.dead() == []

    act(play)


@pytest.mark.parametrize("given", [answer(410), b"nonsense\r\n\r\n"])
def test_a_receiver_that_is_gone_is_given_up_at_once_and_nonsense_when_it_was_tried_enough(
    act: Run, authority: Authority, given: bytes
) -> None:
    async def play(stage: Play) -> None:
        tries = 1 if b"410" in given else 3
        async with receiving(authority, *[given] * 3) as receiver, stage.sending(delays_s=(0, 0)):
            stage.end("nightly", receiver.url)
            await stage.settled()
        (letter,) = await stage.admin.dead()
        assert (letter.attempts, len(receiver.got)) == (tries, tries)
        assert ("410" if tries == 1 else "RemoteProtocolError") in letter.last_error

    act(play)


def test_a_url_that_this_process_must_not_send_to_is_tried_again_since_another_may(act: Run) -> None:
    async def play(stage: Play) -> None:
        async with stage.sending(delays_s=(0, 0)):
            stage.end("one", "https://10.0.0.1/hook?token=hush")
            stage.end("two", "http://example.com/")
            await stage.settled()
        letters = {letter.job_id: letter for letter in await stage.admin.dead()}
        assert {letter.attempts for letter in letters.values()} == {3}
        assert "its address is not public" in letters["one"].last_error
        assert "begin it with https://" in letters["two"].last_error
        assert not any("hush" in letter.encode() for letter in letters.values())

    act(play)


def test_a_name_with_a_private_address_is_tried_again_since_names_change(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        resolver = Resolver({NAME: [["10.0.0.1"], ["127.0.0.1"]]})
        async with receiving(authority) as receiver, stage.sending(resolver=resolver, delays_s=(0, 0)):
            stage.end("nightly", receiver.url)
            await stage.settled()
        assert (len(receiver.got), resolver.asked) == (1, [NAME, NAME])

    act(play)


def test_a_receiver_that_hangs_holds_up_nobody_else(
    act: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOOKED_AT", 4)
    monkeypatch.setattr(store, "ASIDE_MS", 100)

    async def play(stage: Play) -> None:
        async with receiving(authority, *[HANG] * 20) as hanging, receiving(authority) as receiver:
            for number in range(12):
                stage.end(f"hangs{number}", hanging.url)
            stage.end("waits", receiver.url)
            async with stage.sending(total_s=1):
                await until(lambda: len(receiver.got) == 1)
                assert len(hanging.got) == delivery.AT_ONCE_PER_HOST
                await stage.redis.delete(WEBHOOKS_KEY)

    act(play)


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side has gone."""
    try:
        await reader.read()
    finally:
        writer.close()


def test_a_tenant_has_half_of_the_turns(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        names = [f"{letter}.example.test" for letter in "abcdefgh"]
        resolver = Resolver({name: [["127.0.0.1"]] for name in [*names, NAME]})
        async with receiving(authority) as receiver:
            held = await asyncio.start_server(hold, "127.0.0.1", 0)
            port = held.sockets[0].getsockname()[1]
            for name in names:
                stage.end(name[0], f"https://{name}:{port}/", tenant="mallory")
            stage.end("waits", receiver.url)
            try:
                async with stage.sending(resolver=resolver, total_s=2):
                    await until(lambda: len(receiver.got) == 1)
                    assert len(set(resolver.asked) - {NAME}) <= delivery.AT_ONCE_PER_TENANT
                    await until(lambda: len(set(resolver.asked) - {NAME}) == delivery.AT_ONCE_PER_TENANT)
                    await stage.redis.delete(WEBHOOKS_KEY)
            finally:
                held.close()

    act(play)


def test_the_tenant_with_the_fewest_under_way_is_next(act: Run) -> None:
    async def play(stage: Play) -> None:
        for number in range(3):
            stage.end(f"alice-{number}", f"https://{number}.example")
        stage.end("bob", "https://bob.example", tenant="bob")

        async def claimed(**under_way: int) -> str:
            call = store.claim_webhook(60, under_way=under_way)
            claim = Claim.parse(await stage.redis.register_script(call.script)(keys=call.keys, args=call.args))
            return claim.job_id if claim else ""

        assert [await claimed(), await claimed(alice=1, bob=2)] == ["alice-0", "alice-1"]
        assert [await claimed(alice=2), await claimed(alice=3)] == ["bob", "alice-2"]
        assert await claimed() == ""

    act(play)


def test_two_senders_at_once_send_each_event_once(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority) as receiver:
            for number in range(20):
                stage.end(f"job{number}", receiver.url)
            async with stage.sending(), stage.sending():
                await stage.settled()
        assert Counter(json.loads(got.body)["data"]["id"] for got in receiver.got) == {
            f"job{number}": 1 for number in range(20)
        }

    act(play)


def test_a_job_that_runs_again_is_told_of_when_it_has_ended_again(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority, answer(500)) as receiver:
            stage.end("nightly", receiver.url, bad=(2,))
            async with stage.sending(delays_s=(60,)):
                await until(lambda: len(receiver.got) == 1)
                (letter,) = stage.hand.client.dead_letters()
                stage.hand.client.replay(letter.id)
                await stage.redis.zadd(WEBHOOKS_KEY, {"nightly": 1})
                await stage.settled()
                assert len(receiver.got) == 1, "it runs: there is nothing to tell"
                stage.hand.finish("nightly", SEEDS)
                await stage.settled()
        assert [json.loads(got.body)["type"] for got in receiver.got] == ["job.failed", "job.completed"]
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 2

    act(play)


def test_attempts_of_one_end_do_not_count_for_the_next(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority, answer(500), answer(500)) as receiver:
            stage.end("nightly", receiver.url)
            await stage.redis.hset(job_key("nightly"), "webhook_attempts", "1:7")
            async with stage.sending(delays_s=(0, 60)):
                await until(lambda: len(receiver.got) == 2)
        assert (await stage.attempts("nightly")).endswith(":2")

    act(play)


def test_a_job_whose_results_have_expired_is_told_of_as_it_ended(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority) as receiver:
            stage.end("nightly", receiver.url)
            ended = int(await stage.redis.hget(job_key("nightly"), "completed_ms") or 0)
            await stage.redis.hset(job_key("nightly"), "expires_ms", str(ended + 1))
            await until(lambda: stage.hand.client.get("nightly").status is JobStatus.EXPIRED)
            async with stage.sending():
                await stage.settled()
        assert [json.loads(got.body)["data"]["status"] for got in receiver.got] == ["succeeded"]

    act(play)


def test_a_job_whose_record_is_gone_is_let_go_of(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority) as receiver:
            stage.end("nightly", receiver.url)
            await stage.redis.delete(job_key("nightly"))
            async with stage.sending():
                await stage.settled()
        assert (receiver.got, await stage.admin.dead()) == ([], [])

    act(play)


@pytest.mark.parametrize("field", ["status", "completed_ms", "metadata"])
def test_a_job_whose_record_cannot_be_read_is_let_go_of_and_holds_up_nobody(
    act: Run, authority: Authority, field: str
) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority) as receiver:
            stage.end("broken", receiver.url)
            stage.end("nightly", receiver.url)
            await stage.redis.hset(job_key("broken"), field, "{")
            async with stage.sending():
                await stage.settled()
            assert [json.loads(got.body)["data"]["id"] for got in receiver.got] == ["nightly"]

    act(play)


def test_a_sender_that_is_closed_lets_what_is_under_way_end_and_begins_with_nothing(
    act: Run, authority: Authority
) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority, HANG) as receiver:
            stage.end("nightly", receiver.url)
            way_out = Egress(stage.settings, resolve=here(), total_s=0.3)
            sender = WebhookSender(stage.settings, stage.redis, egress=way_out, delays_s=())
            task = asyncio.create_task(sender.run())
            await until(lambda: len(receiver.got) == 1)
            sender.close()
            await until(lambda: sender._taking is None or sender._taking.done())  # a claim may be under way
            stage.end("later", receiver.url)
            await task
        assert [letter.job_id for letter in await stage.admin.dead()] == ["nightly"]
        assert len(receiver.got) == 1

    act(play)


def test_what_is_under_way_at_the_end_may_end_too(act: Run, authority: Authority) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority, HANG) as receiver:
            stage.end("nightly", receiver.url)
            async with stage.sending(total_s=0.3, delays_s=()):
                await until(lambda: len(receiver.got) == 1)
        await stage.settled()
        assert [letter.last_error for letter in await stage.admin.dead()] == ["no answer in time"]

    act(play)


def test_what_does_not_end_in_time_is_another_senders(
    act: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "GRACE_S", 0.05)
    monkeypatch.setattr(delivery, "CLAIM_S", 0.5)

    async def play(stage: Play) -> None:
        async with receiving(authority, HANG) as receiver:
            stage.end("nightly", receiver.url)
            async with stage.sending():
                await until(lambda: len(receiver.got) == 1)
            assert await stage.redis.exists(WEBHOOKS_KEY)
            async with stage.sending():
                await stage.settled()
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
        assert len(receiver.got) == 2

    act(play)


def test_all_secrets_of_a_rotation_sign(act: Run, authority: Authority) -> None:
    masters = "whsec_" + "A" * 43 + "=,whsec_" + "B" * 43 + "="

    async def play(stage: Play) -> None:
        async with receiving(authority) as receiver, stage.sending():
            stage.end("nightly", receiver.url)
            await stage.settled()
        (got,) = receiver.got
        secrets = await stage.admin.secrets_of("alice")
        assert len(set(secrets)) == 2
        for secret in secrets:
            Webhook(secret).verify(got.body, got.headers)

    act(play, webhook_secret=SecretStr(masters))


def test_a_secret_that_no_setting_names_is_made_once(act: Run) -> None:
    async def play(stage: Play) -> None:
        first = await stage.admin.secrets_of("alice")
        assert first == await WebhookAdmin(stage.settings, stage.redis).secrets_of("alice")
        assert first != await stage.admin.secrets_of("bob")

    act(play)


def letter_of(number: int, tenant: str) -> DeadWebhook:
    return DeadWebhook(f"msg_{number}", "gone", "https://h/", "job.failed", 9, "status 500", "2026", tenant)


def test_tenants_see_and_touch_their_own_alone(act: Run) -> None:
    async def play(stage: Play) -> None:
        for number, tenant in enumerate(["alice", "bob", "alice", "alice"]):
            letter = letter_of(number, tenant)
            await stage.redis.hset(WEBHOOK_DEAD_KEY, letter.id, letter.encode())
            await stage.redis.zadd(WEBHOOK_DEAD_INDEX_KEY, {letter.id: number})
        admin = stage.admin
        assert [letter.id for letter in await admin.dead(2)] == ["msg_3", "msg_2"]
        assert [letter.id for letter in await admin.dead(tenant="bob")] == ["msg_1"]
        with pytest.raises(DeadLetterNotFound):
            await admin.replay("msg_0", "bob")
        with pytest.raises(ReplayRefused, match="has expired: purge it"):
            await admin.replay("msg_0", "alice")
        assert await admin.purge(["msg_0", "msg_1"], "alice") == 1
        assert await admin.purge([]) == 0
        assert await admin.purge(None, "alice") == 2
        assert await admin.purge(None, "nobody") == 0
        assert [letter.id for letter in await admin.dead()] == ["msg_1"]
        assert await admin.purge() == 1

    act(play)


def test_the_newest_of_those_that_were_given_up_are_kept(act: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_DEAD", 2)

    async def play(stage: Play) -> None:
        for job in ("one", "two", "three"):
            stage.end(job, "https://10.0.0.1/")
            async with stage.sending():
                await stage.settled()
        assert [letter.job_id for letter in await stage.admin.dead()] == ["three", "two"]
        assert await stage.redis.hlen(WEBHOOK_DEAD_KEY) == 2

    act(play)


def test_a_sender_waits_for_redis_and_goes_on(act: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(stage: Play) -> None:
        async with receiving(authority) as receiver, stage.sending() as sender:
            run, asked = sender._run, []

            async def away(call: Any) -> Any:
                asked.append(call)
                if len(asked) < 3:
                    raise ConnectionError("away")
                return await run(call)

            monkeypatch.setattr(delivery, "POLL_S", 0.01)
            monkeypatch.setattr(sender, "_run", away)
            stage.end("nightly", receiver.url)
            await stage.settled()
            assert len(asked) > 3
        assert len(receiver.got) == 1

    act(play)
