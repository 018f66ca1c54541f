"""The reconciler: finds chunks whose message is in no list although their job has not ended, and enqueues them again.

The transport moves messages in single steps, so there is nothing to find unless somebody has deleted messages or
Redis has forgotten some (a failover, a lost second of its append-only file). Enqueueing a chunk twice does no harm.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from producer import records
from producer.contract import (
    ACTIVE_KEY,
    LANES,
    WORKERS_KEY,
    ChunkMessage,
    Priority,
    chunk_task_id,
    facts_key,
    held_key,
    job_key,
    seeds_key,
)
from producer.queue import parse_queue_status, queue_status
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
    """A chunk whose message is in no list."""

    job_id: str
    chunk: int


def reconcile(client: redis.Redis, *, settle_s: float = SETTLE_S) -> Reconciliation:
    """Look through all jobs that have not ended; ``client`` decodes replies to text."""
    jobs, forgotten = active_jobs(client)
    missing = find_missing(client, jobs)
    if missing:
        time.sleep(settle_s)
        missing &= find_missing(client, [job for job in jobs if any(found.job_id == job for found in missing)])
    republished = sum(_republish(client, found) for found in sorted(missing, key=lambda m: (m.job_id, m.chunk)))
    return Reconciliation(len(jobs), republished, forgotten)


def looks_complete(client: redis.Redis) -> bool:
    """Return whether there are as many messages as chunks that have not ended (cheap).

    Then nothing is missing, unless there are also messages that are none of theirs: foreign, cancelled, or come twice.
    """
    connection: Any = client
    jobs, _ = active_jobs(client)
    owed = 0
    for start in range(0, len(jobs), PAGE):
        pipe = connection.pipeline(transaction=False)
        for job in jobs[start : start + PAGE]:
            pipe.hmget(job_key(job), "chunks", "ended")
        owed += sum(int(chunks) - int(ended or 0) for chunks, ended in pipe.execute() if chunks)
    call = queue_status()
    seen = parse_queue_status(connection.register_script(call.script)(keys=call.keys, args=call.args))
    return seen.waiting + seen.held >= owed


def active_jobs(client: redis.Redis) -> tuple[list[str], int]:
    """Return the jobs that have not ended, and how many were let go because their record has gone or has ended."""
    connection: Any = client
    found: list[str] = []
    gone: list[str] = []
    jobs = connection.zrange(ACTIVE_KEY, 0, -1)
    seconds, microseconds = connection.time()
    now_ms = seconds * 1000 + microseconds // 1000
    for start in range(0, len(jobs), PAGE):
        page = jobs[start : start + PAGE]
        pipe = connection.pipeline(transaction=False)
        for job in page:
            pipe.hmget(job_key(job), "status", "expires_ms")
        for job, (status, expires_ms) in zip(page, pipe.execute(), strict=True):
            alive = status in ("queued", "running") and now_ms < int(expires_ms)
            (found if alive else gone).append(job)
    if gone:
        connection.zrem(ACTIVE_KEY, *gone)
    return found, len(gone)


def find_missing(client: redis.Redis, jobs: list[str]) -> set[Missing]:
    """Return the chunks of these jobs that have not ended and whose message is in no list."""
    if not jobs:
        return set()
    connection: Any = client
    present = set(_task_ids(client))
    missing: set[Missing] = set()
    for job in jobs:
        chunks = int(connection.hget(job_key(job), "chunks") or 0)
        facts = connection.hgetall(facts_key(job))
        for chunk in range(chunks):
            open_ = facts.get(str(chunk)) in (None, "running", "dropped")
            if open_ and chunk_task_id(job, chunk, chunks) not in present:
                missing.add(Missing(job, chunk))
    return missing


def _task_ids(client: redis.Redis) -> Iterator[str]:
    """Yield the task id of every message: waiting ones first, since those are what workers take."""
    connection: Any = client
    for lane in LANES:
        start = 0
        while page := connection.lrange(lane, start, start + PAGE - 1):
            yield from _read_ids(page)
            start += len(page)
    for worker in _workers(client):
        yield from _read_ids(connection.hvals(held_key(worker)))


def _read_ids(texts: list[str]) -> Iterator[str]:
    for text in texts:
        if match := TASK_ID.search(text):
            with suppress(ValueError):
                yield json.loads(match[1])


def _workers(client: redis.Redis) -> list[str]:
    connection: Any = client
    return list(connection.zrange(WORKERS_KEY, 0, -1))


def _republish(client: redis.Redis, missing: Missing) -> int:
    connection: Any = client
    fields = connection.hmget(job_key(missing.job_id), "chunks", "chunk_size", "priority")
    packed = connection.get(seeds_key(missing.job_id))
    if None in fields or packed is None:
        return 0
    chunks, size, priority = int(fields[0]), int(fields[1]), Priority(fields[2])
    seeds = tuple(unpack(packed)[missing.chunk * size : (missing.chunk + 1) * size])
    task_id = chunk_task_id(missing.job_id, missing.chunk, chunks)
    call = records.republish_chunk(ChunkMessage(task_id, missing.job_id, missing.chunk, seeds, priority))
    return int(connection.register_script(call.script)(keys=call.keys, args=call.args))
