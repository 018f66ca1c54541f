"""Idempotency-Key: a request that is sent again gets the answer of the first time, and makes no second job.

The job's id is chosen before anything is enqueued and kept with the key. So an attempt whose process died is gone on
with under the same id, whatever it had done; until then its lease keeps others from doing the same at the same time.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from producer.api.connection import Connection
from producer.api.problem import ProblemError
from producer.contract import IDEMPOTENCY_KEY_PREFIX
from producer.errors import QueueError, QueueRefused, QueueUnreachable, SeedmillError
from producer.lua import SCRIPTS, Call
from producer.seeds import shorten

KEEP_S = 24 * 3600
LEASE_S = 60
"""Seconds that an attempt may take, beside those that it waits for the job."""

VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as it was given."""

    status: int
    headers: Mapping[str, str]
    body: Any

    def encode(self) -> str:
        """Return it as it is stored."""
        return json.dumps([self.status, dict(self.headers), self.body], separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> StoredAnswer:
        """Read what :meth:`encode` wrote."""
        return cls(*json.loads(text))


@dataclass(slots=True)
class Attempt:
    """One attempt at a request: ``answer`` is what was answered before, or is now to be set.

    ``enqueued`` is to be set once there may be a job; it is so from the start where an earlier attempt was left open.
    """

    job_id: str = field(default_factory=lambda: str(uuid4()))
    answer: StoredAnswer | None = None
    replayed: bool = False
    enqueued: bool = False


@asynccontextmanager
async def attempting(
    connection: Connection, tenant: str, key: str | None, fingerprint: str, *, lease_s: float = LEASE_S
) -> AsyncIterator[Attempt]:
    """Yield an attempt at a request; without a key it is like any other.

    Inside, set ``answer`` unless it is there. An error that leaves nothing enqueued frees the key; after any other the
    next attempt goes on with the same job.

    Raises:
        ProblemError: the key cannot be used, was used with another request, or its first is in progress.
    """
    if key is None:
        yield Attempt()
        return
    if not VISIBLE.fullmatch(key):
        raise ProblemError("invalid-request", f"Idempotency-Key={shorten(key)}: use 1 to 255 visible ASCII characters")
    redis_key = f"{IDEMPOTENCY_KEY_PREFIX}{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"
    token = secrets.token_hex(8)
    attempt = await _claim(connection, redis_key, token, fingerprint, lease_s)
    if attempt.replayed:
        yield attempt
        return
    outcome = "open"
    try:
        yield attempt
        outcome = attempt.answer.encode() if attempt.answer else "open"
    except (QueueUnreachable, QueueRefused):  # nobody knows whether it was enqueued
        raise
    except (SeedmillError, ProblemError):
        outcome = "open" if attempt.enqueued else ""
        raise
    finally:
        with suppress(QueueError):  # then the lease runs out, and the next attempt has the same job
            await connection.run(Call(SCRIPTS["settle_request"], [redis_key], [token, outcome]))


async def _claim(connection: Connection, redis_key: str, token: str, fingerprint: str, lease_s: float) -> Attempt:
    attempt = Attempt()
    args: list[str | int] = [fingerprint, attempt.job_id, token, int(lease_s * 1000), KEEP_S * 1000]
    state, *rest = await connection.run(Call(SCRIPTS["claim_request"], [redis_key], args))
    if state == "reused":
        raise ProblemError(
            "key-reused", "this Idempotency-Key was used with another request within a day: choose another"
        )
    if state == "busy":
        raise ProblemError(
            "key-in-progress", "the first request with this Idempotency-Key is not answered yet", retry_after_s=1
        )
    if state == "done":
        return Attempt(attempt.job_id, StoredAnswer.decode(rest[0]), replayed=True)
    return Attempt(str(rest[0]), enqueued=rest[0] != attempt.job_id)
