"""A submit over HTTP, from the body that was read to the answer of Redis."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from producer import records
from producer.api.access import Caller
from producer.api.body import JobOrder
from producer.api.documents import SeenJob
from producer.api.services import Services
from producer.api.webhooks.urls import check_webhook_url
from producer.errors import JobConflict, QueueFull, QueueUnknown
from producer.records import Bounds, Extras
from producer.submission import Submission
from producer.tracing import submitting

T = TypeVar("T")

MAX_WAIT_S = 60
LONGEST_POLL_S = 60
THREAD_SEEDS = 10_000
"""Most seeds that are made ready where they are; more of them in a thread."""

PREFERENCE = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*', re.IGNORECASE)


async def enqueue(parts: Services, caller: Caller, order: JobOrder, job_id: str, headers: Mapping[str, str]) -> bool:
    """Enqueue what was asked for; returns whether the job was made, and had not been there.

    ``headers`` are those of the request, which may say of which trace it is a part.

    Raises:
        InvalidJobId, SettingsError: naming the value.
        JobConflict: there is another job of that id.
        QueueUnknown: no worker has ever served its queue.
        QueueFull: there is no room for it.
    """
    parts.memory.check()
    bounds = parts.admission.bounds(caller.tenant, caller.share)
    parts.admission.check(order.seeds, bounds)
    submission = await _apart(len(order.seeds), lambda: _check(parts, caller, order, job_id))
    with submitting(submission, headers) as trace:
        call = await _apart(len(order.seeds), lambda: submission.call(trace, bounds))
        answer = int(await parts.connection.run(call))
    if answer == records.QUEUE_UNKNOWN:
        raise QueueUnknown(submission.queue)
    if answer == records.CONFLICT:
        raise JobConflict(job_id)
    if answer < 0:
        await _refuse(parts, answer, caller, len(order.seeds), bounds)
    return answer == records.MADE


def preferred_wait(prefer: list[str] | None) -> int | None:
    """Return the seconds of ``Prefer: wait=n``, at most 60; ``None`` if there is no such preference."""
    for part in ",".join(prefer or ()).split(","):
        if found := PREFERENCE.fullmatch(part.partition(";")[0]):
            return min(MAX_WAIT_S, int(found[1]))
    return None


def retry_after_s(seen: SeenJob) -> int:
    """Return when to look at a job again that has not ended: when it should have, within a minute."""
    return max(1, min(LONGEST_POLL_S, math.ceil(seen.record.eta_s or 1)))


async def _apart(seeds: int, make: Callable[[], T]) -> T:
    """Return what ``make`` returns, which takes long for many seeds."""
    return await asyncio.to_thread(make) if seeds > THREAD_SEEDS else make()


def _check(parts: Services, caller: Caller, order: JobOrder, job_id: str) -> Submission:
    settings = parts.settings
    if order.webhook:
        check_webhook_url(order.webhook, settings)
    if order.chunk_size is not None:
        settings = settings.model_copy(update={"chunk_size": order.chunk_size})
    extras = Extras(caller.tenant, order.metadata, order.webhook)
    return Submission.check(
        order.seeds, job_id, settings, order.priority, queue=order.queue, force=order.force, extras=extras
    )


async def _refuse(parts: Services, answer: int, caller: Caller, seeds: int, bounds: Bounds) -> None:
    try:
        await parts.admission.refuse(answer, caller.tenant, seeds, bounds)
    except QueueFull as error:
        parts.metrics.refused.labels(error.problem).inc()
        raise
