"""Webhooks in Redis: which are due, who sends them, how often that has failed, and those that were given up.

Calls to make and the reading of their answers, as in producer/dead.py; it talks to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from producer.contract import (
    JOB_KEY_PREFIX,
    WEBHOOK_DEAD_INDEX_KEY,
    WEBHOOK_DEAD_KEY,
    WEBHOOKS_KEY,
    job_key,
)
from producer.errors import DeadLetterNotFound, ReplayRefused
from producer.job import JobRecord
from producer.lua import SCRIPTS, Call

DEAD_KEYS = (WEBHOOK_DEAD_KEY, WEBHOOK_DEAD_INDEX_KEY)
MAX_DEAD = 10_000
"""Webhooks kept that were given up; the oldest go first."""

LOOKED_AT = 200
"""Due jobs among which one is looked for whose receiver is not busy."""

ASIDE_MS = 2000
"""For how long those wait that are all of busy receivers, and stand before others."""

AGAIN = ["again"]
"""Answered if all that were looked at wait now: others may stand behind them."""

LIST_COMMAND = "seedmill webhooks dead"


@dataclass(frozen=True, slots=True)
class Claim:
    """A job whose webhook is this process's to send for now.

    ``record`` is as of the end of the job, so that each attempt tells the same; ``None`` if there is none any more.
    ``ended_ms`` tells one end of the job from the next, and ``attempts`` counts the deliveries of this one that have
    failed.
    """

    job_id: str
    claim: str
    attempts: int
    record: JobRecord | None
    ended_ms: str

    @property
    def url(self) -> str:
        """Where it is sent to, "" for nowhere."""
        return (self.record.webhook or "") if self.record else ""

    @property
    def tenant(self) -> str:
        """Whose job it is, "" for nobody's."""
        return self.record.tenant if self.record else ""

    @classmethod
    def parse(cls, answer: Sequence[Any]) -> Claim | None:
        """Read what :func:`claim_webhook` answered; ``None`` if it was nothing, or :data:`AGAIN`."""
        if len(answer) < 2:
            return None
        job, claim, attempts, flat, now_ms = answer
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        ended_ms = fields.get("completed_ms", "")
        record = JobRecord.read(job, [flat, ended_ms or now_ms, -1]) if fields else None
        return cls(job, claim, int(attempts), record, ended_ms)


@dataclass(frozen=True, slots=True)
class DeadWebhook:
    """A webhook that was given up: ``id`` is the event's, ``url`` lacks its query, ``at`` is the sender's time."""

    id: str
    job_id: str
    url: str
    event: str
    attempts: int
    last_error: str
    at: str
    tenant: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return asdict(self)

    def encode(self) -> str:
        """Return it as it is stored."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> DeadWebhook:
        """Read what :meth:`encode` wrote; unknown keys of a newer release are ignored."""
        data = json.loads(text)
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


def claim_webhook(
    seconds: float,
    *,
    hosts: Iterable[str] = (),
    tenants: Iterable[str] = (),
    under_way: Mapping[str, int] = MappingProxyType({}),
) -> Call:
    """Take a job whose webhook is due, for so long; :meth:`Claim.parse` reads the answer, unless it is :data:`AGAIN`.

    ``hosts``, as :func:`producer.api.webhooks.urls.host_of` names them, and ``tenants`` are busy: theirs are left. Of
    the other tenants one with the fewest deliveries ``under_way`` is next.
    """
    busy = [*(f"host {host}" for host in hosts), *(f"tenant {tenant}" for tenant in tenants)]
    busy += [f"under way {number} {tenant}" for tenant, number in under_way.items()]
    args: list[str | int] = [int(seconds * 1000), JOB_KEY_PREFIX, LOOKED_AT, ASIDE_MS, *busy]
    return Call(SCRIPTS["claim_webhook"], [WEBHOOKS_KEY], args)


def settle_done(claim: Claim) -> Call:
    """Note that nothing is left to send; answers 0 if it is another's by now."""
    return _settle(claim, "done")


def settle_retry(claim: Claim, seconds: float) -> Call:
    """Note that a delivery has failed and when the next one is due; answers as :func:`settle_done`."""
    return _settle(claim, "retry", int(seconds * 1000), f"{claim.ended_ms}:{claim.attempts + 1}")


def settle_dead(claim: Claim, letter: DeadWebhook) -> Call:
    """Note that it was given up; answers as :func:`settle_done`."""
    return _settle(claim, "dead", letter.id, letter.encode(), MAX_DEAD)


def _settle(claim: Claim, *args: str | int) -> Call:
    keys = [WEBHOOKS_KEY, job_key(claim.job_id), *DEAD_KEYS]
    return Call(SCRIPTS["settle_webhook"], keys, [claim.job_id, claim.claim, *args])


def list_dead(limit: int, letter_id: str = "") -> Call:
    """Read webhooks that were given up, newest first, or one; :func:`parse_dead` reads the answer."""
    return Call(SCRIPTS["list_dead"], DEAD_KEYS, [limit, letter_id])


def parse_dead(answer: Sequence[Any]) -> list[DeadWebhook]:
    """Read what :func:`list_dead` answered."""
    return [DeadWebhook.decode(text) for text in answer[1:] if text]


def only(letters: Sequence[DeadWebhook], letter_id: str, tenant: str | None = None) -> DeadWebhook:
    """Return the one that was asked for, if it is this tenant's; of any for ``None``.

    Raises:
        DeadLetterNotFound: there is no such one.
    """
    if not letters or tenant not in (None, letters[0].tenant):
        raise DeadLetterNotFound(letter_id, LIST_COMMAND)
    return letters[0]


def replay_dead(letter: DeadWebhook) -> Call:
    """Make a webhook due again; :func:`check_replay` reads the answer."""
    keys = [*DEAD_KEYS, WEBHOOKS_KEY, job_key(letter.job_id)]
    return Call(SCRIPTS["replay_webhook"], keys, [letter.id, letter.job_id])


def check_replay(letter: DeadWebhook, answer: int) -> None:
    """Raise what a refused replay means.

    Raises:
        DeadLetterNotFound: somebody was quicker.
        ReplayRefused: there is no record of the job any more.
    """
    if answer == 0:
        raise DeadLetterNotFound(letter.id, LIST_COMMAND)
    if answer < 0:
        raise ReplayRefused(f"webhook {letter.id!r}: the record of its job {letter.job_id} has expired: purge it")


def purge_dead(ids: Iterable[str]) -> Call:
    """Forget these webhooks that were given up, or all if there are none; answers how many are gone."""
    return Call(SCRIPTS["purge_dead"], DEAD_KEYS, list(ids))
