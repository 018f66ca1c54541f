"""Whether the parts are there without which no job is done; each is given a short time to show that it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from enum import StrEnum
from typing import Any

import structlog

from producer.api.bucket import Bucket
from producer.api.connection import Connection
from producer.api.workers import Workers
from producer.contract import DEFAULT_QUEUE
from producer.errors import QueueError

log = structlog.get_logger(__name__)

CHECK_S = 2.0

Seen = tuple[bool | None, str | None]


class Part(StrEnum):
    """What jobs need."""

    REDIS = "redis"
    STORAGE = "storage"
    WORKER = "worker"


async def check_parts(connection: Connection, bucket: Bucket, workers: Workers) -> dict[str, dict[str, Any]]:
    """Return ``ok`` and ``detail`` of each part, asked side by side; ``ok`` is ``None`` for what is not configured."""
    seen = await asyncio.gather(_within(_redis(connection)), _within(bucket.check()), _within(_worker(workers)))
    return {name: {"ok": ok, "detail": detail} for name, (ok, detail) in zip(Part, seen, strict=True)}


async def _within(check: Awaitable[Seen]) -> Seen:
    try:
        return await asyncio.wait_for(check, CHECK_S)
    except TimeoutError:
        return False, f"no answer within {CHECK_S:g} s"
    except QueueError as error:
        log.warning("the queue could not be asked", action="queue_away", error=str(error))
        return False, "Redis does not answer, or refuses: the log says how"


async def _redis(connection: Connection) -> Seen:
    await connection.ping()
    return True, None


async def _worker(workers: Workers) -> Seen:
    if await workers.own():
        return True, None
    variable = "" if workers.queue == DEFAULT_QUEUE else f"SEEDMILL_QUEUE={workers.queue} "
    return False, f"no worker of queue {workers.queue!r} is seen: start one with {variable}python -m worker run"
