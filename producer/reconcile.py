"""The reconciler: finds chunks that nothing stands for in any list although their job has not ended, and enqueues them.

A chunk that was sent is a message; those that were not have the ticket of their job. Both move in single steps, so
there is nothing to find unless somebody has deleted them or Redis has forgotten some (a failover, a lost second of its
append-only file). Enqueueing a chunk twice does no harm.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import redis

from producer import attempts, records
from producer.contract import (
    ACTIVE_KEY,
    DEFAULT_QUEUE,
    LANES,
    QUEUES_KEY,
    TICKET_PREFIX,
    TURN_PREFIX,
    Priority,
    chunk_task_id,
    facts_key,
    held_key,
    job_key,
    seeds_key,
)
from producer.lua import Call
from producer.queue import parse_queue_status, queue_status
from producer.queue_keys import QueueKeys, queue_keys
from producer.seeds import unpack

PAGE = 1000
SETTLE_S = 2.0
"""A chunk that is missing must still be so after this, since messages move while the lists are read."""

TASK_ID = re.compile(r'"id": ?("(?:[^"\\]|\\.){1,2000}")')


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a reconciler did: jobs that have not ended, chunks that it enqueued again, and records that it let go."""

    active_jobs: int
    republished: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A chunk that was sent and whose message is in no list."""

    job_id: str
    chunk: int


@dataclass(frozen=True, slots=True)
class Found:
    """What is in the lists: task ids of messages; jobs of tickets, and in whose list each was; tenants with jobs.

    In whose list a ticket was: that of a tenant, "" for none, and of which queue.
    """

    tasks: set[str]
    tickets: dict[str, tuple[str, str]]
    tenants: set[str]


Extents = Mapping[str, tuple[int, int]]
"""By job, how many chunks it has, and how many of them were sent."""


def reconcile(client: redis.Redis, *, settle_s: float = SETTLE_S) -> Reconciliation:
    """Look through all jobs that have not ended; ``client`` decodes replies to text."""
    jobs, forgotten = active_jobs(client)
    extents, tenants = _extents(client, jobs)
    queues = _queues(client, jobs)
    found = _find(client, queues, tenants)
    republished = _mend_tickets(client, queues, extents, found)
    missing = _missing(client, extents, found)
    if missing:
        time.sleep(settle_s)
        again = {one.job_id: extents[one.job_id] for one in missing}
        missing &= _missing(client, again, _find(client, queues, found.tenants))
    republished += sum(_republish(client, one) for one in sorted(missing, key=lambda m: (m.job_id, m.chunk)))
    _run(client, records.count_backlog())
    return Reconciliation(len(jobs), republished, forgotten)


def looks_complete(client: redis.Redis) -> bool:
    """Return whether there are as many messages, sent or with a ticket, as chunks that have not ended (cheap).

    Then nothing is missing, unless there are also messages that are none of theirs: foreign, cancelled, or come twice.
    """
    jobs, _ = active_jobs(client)
    numbers = (numbers for _, numbers in _fields(client, jobs, "chunks", "ended"))
    owed = sum(int(chunks) - int(ended or 0) for chunks, ended in numbers if chunks)
    seen = parse_queue_status(_run(client, queue_status()))
    return seen.waiting + seen.held >= owed


def active_jobs(client: redis.Redis) -> tuple[list[str], int]:
    """Return the jobs that have not ended, and how many were let go because their record has gone or has ended."""
    connection: Any = client
    found: list[str] = []
    gone: list[str] = []
    jobs = connection.zrange(ACTIVE_KEY, 0, -1)
    seconds, microseconds = connection.time()
    now_ms = seconds * 1000 + microseconds // 1000
    for job, (status, expires_ms) in _fields(client, jobs, "status", "expires_ms"):
        alive = status in ("queued", "running") and now_ms < int(expires_ms)
        (found if alive else gone).append(job)
    forgotten = sum(int(_run(client, records.expire_jobs(gone[n : n + PAGE]))) for n in range(0, len(gone), PAGE))
    if forgotten:  # the seeds of a job whose record has gone are known no more
        _run(client, records.count_backlog())
    return found, forgotten


def _extents(client: redis.Redis, jobs: list[str]) -> tuple[Extents, set[str]]:
    """Return how far jobs were sent, and the tenants that they are of."""
    extents, tenants = {}, set()
    for job, (chunks, sent, tenant) in _fields(client, jobs, "chunks", "sent", "tenant"):
        if chunks:  # a job that came as a message was sent whole, and its record says nothing of that
            extents[job] = int(chunks), int(chunks if sent is None else sent)
        if tenant:
            tenants.add(str(tenant))
    return extents, tenants


def _fields(client: redis.Redis, jobs: list[str], *names: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield each job with these fields of its record, read page by page."""
    connection: Any = client
    for start in range(0, len(jobs), PAGE):
        page = jobs[start : start + PAGE]
        pipe = connection.pipeline(transaction=False)
        for job in page:
            pipe.hmget(job_key(job), *names)
        yield from zip(page, pipe.execute(), strict=True)


def _missing(client: redis.Redis, extents: Extents, found: Found) -> set[Missing]:
    """Return the chunks of these jobs that were sent, have not ended, and whose message is not among what was found."""
    connection: Any = client
    missing: set[Missing] = set()
    for job, (chunks, sent) in extents.items():
        facts = connection.hgetall(facts_key(job))
        for chunk in range(sent):
            open_ = facts.get(str(chunk)) in (None, "running", "dropped")
            if open_ and chunk_task_id(job, chunk, chunks) not in found.tasks:
                missing.add(Missing(job, chunk))
    return missing


def _mend_tickets(client: redis.Redis, queues: Sequence[QueueKeys], extents: Extents, found: Found) -> int:
    """Put right the tickets that seem to be missing or left over, and the counts that seem wrong.

    Whether they are is looked at again in the step that mends them. Returns the chunks that were lost.
    """
    behind = {job: (queue.name, count) for queue in queues for job, count in _behind(client, queue).items()}
    turns = {name for name in behind if name.startswith(TURN_PREFIX)}
    counts = {job: count for job, (_, count) in behind.items() if job not in turns}
    tenants = found.tenants | {name.removeprefix(TURN_PREFIX) for name in turns}
    doubtful = (counts.keys() | found.tickets.keys()) - extents.keys()
    for job, (chunks, sent) in extents.items():
        if sent < chunks and (job not in found.tickets or counts.get(job, 0) != chunks - sent - 1):
            doubtful.add(job)
    republished = 0
    for job in sorted(doubtful):
        queue, _ = behind.get(job, (DEFAULT_QUEUE, 0))
        republished += int(_run(client, records.mend_ticket(job, *found.tickets.get(job, ("", queue)))))
    for tenant in sorted(tenants):
        for one in queues:
            _run(client, records.mend_turn(tenant, one.name))
    return republished


def _queues(client: redis.Redis, jobs: list[str]) -> list[QueueKeys]:
    """Return the queues that there are, also those that only jobs know."""
    connection: Any = client
    named = {queue for _, (queue,) in _fields(client, jobs, "queue") if queue}
    return [queue_keys(name) for name in sorted({DEFAULT_QUEUE, *named, *connection.hkeys(QUEUES_KEY)})]


def _behind(client: redis.Redis, queue: QueueKeys) -> dict[str, int]:
    """Return what stands behind the tickets and turns of a queue."""
    connection: Any = client
    return {name: int(count) for key in queue.behind for name, count in connection.hgetall(key).items()}


def _find(client: redis.Redis, queues: Sequence[QueueKeys], tenants: set[str]) -> Found:
    """Read everything that waits, and then what is held, since that is the way that messages go.

    Lists of tenants are read that are given, or have a turn.
    """
    connection: Any = client
    found = Found(set(), {}, set(tenants))
    for queue in queues:
        for lane in queue.lanes:
            for page in _pages(client, lane):
                found.tickets.update(dict.fromkeys(_without(TICKET_PREFIX, page), ("", queue.name)))
                found.tenants.update(_without(TURN_PREFIX, page))
                found.tasks.update(_read_ids(page))
    for queue, tenant in product(queues, found.tenants):
        for number in range(len(LANES)):
            for page in _pages(client, queue.turns(number, tenant)):
                found.tickets.update(dict.fromkeys(_without(TICKET_PREFIX, page), (tenant, queue.name)))
    for queue in queues:
        for worker in connection.zrange(queue.workers, 0, -1):
            found.tasks.update(_read_ids(connection.hvals(held_key(worker))))
    return found


def _pages(client: redis.Redis, key: str) -> Iterator[list[str]]:
    """Yield what is in a list."""
    connection: Any = client
    start = 0
    while page := connection.lrange(key, start, start + PAGE - 1):
        yield page
        start += len(page)


def _without(prefix: str, texts: list[str]) -> Iterator[str]:
    """Yield those texts that begin so, without that."""
    return (text.removeprefix(prefix) for text in texts if text.startswith(prefix))


def _read_ids(texts: list[str]) -> Iterator[str]:
    for text in texts:
        if match := TASK_ID.search(text):
            with suppress(ValueError):
                yield json.loads(match[1])


def _republish(client: redis.Redis, missing: Missing) -> int:
    connection: Any = client
    *fields, queue = connection.hmget(job_key(missing.job_id), "chunk_size", "priority", "queue")
    packed = connection.get(seeds_key(missing.job_id))
    if None in fields or packed is None:
        return 0
    size, priority = int(fields[0]), Priority(fields[1])
    try:
        seeds = unpack(packed)
    except ValueError:  # an older version packed otherwise; others are looked after all the same
        return 0
    message = records.message_of(missing.job_id, seeds, missing.chunk, chunk_size=size, priority=priority)
    return int(_run(client, attempts.republish_chunk(message, queue or DEFAULT_QUEUE)))


def _run(client: redis.Redis, call: Call) -> Any:
    connection: Any = client
    return connection.register_script(call.script)(keys=call.keys, args=call.args)
