"""The background task that sends webhooks: takes what is due, a few at once, and settles what became of each.

Any number of processes may run one: a claim makes each delivery one's, and runs out if that one dies, so that each
event is sent at least once; its id tells doubles. A receiver that hangs takes its own turns and nobody else's.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import prometheus_client
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from producer.api.webhooks import secrets, store
from producer.api.webhooks.egress import AddressRefused, Egress
from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.signing import Event
from producer.api.webhooks.store import Claim, DeadWebhook
from producer.api.webhooks.urls import check_webhook_url, host_of, shown
from producer.errors import SettingsError
from producer.lua import Call
from producer.redaction import one_line

DELAYS_S = (5, 30, 2 * 60, 10 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
"""Seconds between an attempt that failed and the next; after the last of them it is given up."""

JITTER = 0.1
"""Part of a delay by which it may be longer, so that what failed together does not come back together."""

MAX_RETRY_AFTER_S = 3600
"""Longest wait that a receiver can ask for."""

AT_ONCE = 8
AT_ONCE_PER_HOST = 2
AT_ONCE_PER_TENANT = 4

POLL_S = 1.0
CLAIM_S = 30.0
"""For how long a delivery is one process's; longer than the longest attempt."""

GRACE_S = 5.0
"""What is under way at the end has so long to end too."""

ERROR_CHARACTERS = 200

DELIVERIES = prometheus_client.Counter(
    "seedmill_webhook_deliveries", "Attempts to deliver webhooks, by outcome.", ["outcome"], registry=None
)
"""In no registry until a server registers it; ``failed`` is tried again, ``dead`` not, ``dropped`` had no job."""
OUTCOMES = ("sent", "failed", "dead", "dropped")
for _outcome in OUTCOMES:
    DELIVERIES.labels(_outcome)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: ``error`` is "" if it was delivered, ``final`` says that no other could do better."""

    error: str = ""
    final: bool = False
    retry_after_s: float = 0


def judge(status: int, retry_after_s: float | None) -> Outcome:
    """Return what a receiver's answer means: 2xx is a success, 410 the end, all else is tried again."""
    if 200 <= status < 300:
        return Outcome()
    asked_s = (retry_after_s or 0) if status in (429, 503) else 0
    return Outcome(f"the receiver answered with status {status}", status == 410, min(asked_s, MAX_RETRY_AFTER_S))


def delay_s(delays_s: Sequence[float], attempts: int, outcome: Outcome) -> float | None:
    """Return the seconds until the next attempt after so many that failed, or ``None`` if there is none."""
    if outcome.final or attempts > len(delays_s):
        return None
    spread = 1 + JITTER * random.random()  # noqa: S311
    return max(delays_s[attempts - 1], outcome.retry_after_s) * spread


class WebhookSender:
    """Sends webhooks until it is closed, or cancelled.

    Args:
        settings: what is signed with, and who may be sent to.
        redis: a client that decodes replies.
        egress: the way out; without it, the one that the settings describe.
        delays_s: seconds between an attempt that failed and the next.

    Raises:
        SettingsError: a secret or the file of authorities cannot be used.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        redis: Redis,
        *,
        egress: Egress | None = None,
        delays_s: Sequence[float] = DELAYS_S,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._masters = secrets.set_masters(settings)
        self._egress = egress or Egress(settings)
        self._delays_s = delays_s
        self._flying: dict[asyncio.Task[None], Claim] = {}
        self._taking: asyncio.Task[bool] | None = None
        self._wake = asyncio.Event()
        self._away = False
        self._closing = False

    def wake(self) -> None:
        """Look for what is due at once, rather than within a second."""
        self._wake.set()

    def close(self) -> None:
        """Begin with nothing new; :meth:`run` then returns."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Send what is due until this is closed or cancelled; what is under way then has a few seconds to end."""
        try:
            while not self._closing:
                self._wake.clear()
                # Shielded, since the Redis client loses connections, and before Python 3.12 even the cancelling itself.
                self._taking = asyncio.create_task(self._take())
                if not await asyncio.shield(self._taking):
                    await self._pause()
        finally:
            await self._leave()
            if not isinstance(sys.exception(), Exception):  # else it is run again
                self._egress.close()

    async def _take(self) -> bool:
        """Begin with one delivery if one is due and there is room for it."""
        if self._closing or len(self._flying) >= AT_ONCE:
            return False
        hosts = Counter(host_of(claim.url) for claim in self._flying.values())
        tenants = Counter(claim.tenant for claim in self._flying.values())
        call = store.claim_webhook(
            CLAIM_S,
            hosts=[host for host, number in hosts.items() if number >= AT_ONCE_PER_HOST],
            tenants=[tenant for tenant, number in tenants.items() if number >= AT_ONCE_PER_TENANT],
            under_way=tenants,
        )
        try:
            answer = await self._run(call)
        except (RedisError, OSError) as error:
            if not self._away:
                log.warning("webhooks wait for Redis", action="webhooks_paused", error=one_line(error))
            self._away = True
            return False
        self._away = False
        claim = _read(answer)
        if claim is None:
            return bool(answer == store.AGAIN)
        task = asyncio.create_task(self._deliver(claim))
        self._flying[task] = claim
        task.add_done_callback(self._landed)
        return True

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._flying[task]
        self._wake.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _leave(self) -> None:
        """Let what is under way end; the claim of what does not runs out, and another process sends it."""
        if self._taking:
            await asyncio.wait([self._taking])
        if self._flying:
            await asyncio.wait(self._flying, timeout=GRACE_S)
        tasks = list(self._flying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, call: Call) -> Any:
        return await self._redis.register_script(call.script)(keys=call.keys, args=call.args)

    async def _deliver(self, claim: Claim) -> None:
        """Make an attempt and settle it; if Redis is away then, the claim runs out and it is sent again."""
        try:
            event = self._event(claim)
            if event is None:
                await self._run(store.settle_done(claim))
                return
            keys = secrets.tenant_secrets(await self._keys(), claim.tenant)
            began = time.monotonic()
            outcome = await self._attempt(claim, event, keys)
            await self._settle(claim, event, outcome, round(time.monotonic() - began, 3))
        except (RedisError, OSError) as error:
            log.warning(
                "Redis was away when a webhook was to be settled: it is sent again",
                action="webhook_not_settled",
                job_id=claim.job_id,
                error=one_line(error),
            )

    def _event(self, claim: Claim) -> Event | None:
        """Return what there is to tell, if there is; a job that runs again is due again when it ends."""
        if claim.record is None or not claim.url:
            DELIVERIES.labels("dropped").inc()
            log.warning(
                "a webhook is dropped: there is no job to tell of", action="webhook_dropped", job_id=claim.job_id
            )
            return None
        return Event.of(claim.record)

    async def _attempt(self, claim: Claim, event: Event, keys: Sequence[str]) -> Outcome:
        try:
            target = check_webhook_url(claim.url, self._settings)
            answer = await self._egress.post(target, event.body, event.headers(keys, datetime.now(UTC)))
        except TimeoutError:
            return Outcome("no answer in time")
        except (SettingsError, AddressRefused) as error:  # another process may have been set to let it through
            return Outcome(str(error))
        except Exception as error:  # whatever a stranger's server does to the library ends this attempt alone
            return Outcome(f"{type(error).__name__}: {one_line(error)}"[:ERROR_CHARACTERS])
        return judge(answer.status, answer.retry_after_s)

    async def _keys(self) -> list[bytes]:
        if not self._masters:
            self._masters = secrets.kept_masters(await self._run(secrets.keep_master()))
        return self._masters

    async def _settle(self, claim: Claim, event: Event, outcome: Outcome, seconds: float) -> None:
        attempt = claim.attempts + 1
        facts = {"job_id": claim.job_id, "url": shown(claim.url), "webhook_id": event.id, "attempt": attempt}
        facts["seconds"] = seconds
        if not outcome.error:
            DELIVERIES.labels("sent").inc()
            log.info("a webhook was delivered", action="webhook_sent", **facts)
            await self._run(store.settle_done(claim))
            return
        wait_s = delay_s(self._delays_s, attempt, outcome)
        if wait_s is not None:
            DELIVERIES.labels("failed").inc()
            log.warning(
                "a webhook was not delivered: it is tried again",
                action="webhook_failed",
                error=outcome.error,
                retry_s=round(wait_s),
                **facts,
            )
            await self._run(store.settle_retry(claim, wait_s))
            return
        DELIVERIES.labels("dead").inc()
        log.error("a webhook was given up", action="webhook_dead", error=outcome.error, **facts)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        letter = DeadWebhook(
            event.id, claim.job_id, shown(claim.url), event.type, attempt, outcome.error, at, claim.tenant
        )
        await self._run(store.settle_dead(claim, letter))


def _read(answer: Any) -> Claim | None:
    """Read what was claimed; a record that cannot be read is as good as none, since it would fail again and again."""
    try:
        return Claim.parse(answer)
    except Exception as error:  # whatever is in it
        job_id, claim, *_ = answer
        log.error("a job's record cannot be read", action="webhook_unreadable", job_id=job_id, error=one_line(error))
        return Claim(job_id, claim, 0, None, "")
