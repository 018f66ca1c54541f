"""The job record in Redis: every step of its life is one Lua script, so that no reader sees half of one.

Calls are described here and carried out by the clients (blocking or asyncio) and by the worker, whose own are in
producer/chunks.py. The scripts lie in producer/scripts/; all of them take the time from the Redis server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from producer.contract import (
    ACTIVE_KEY,
    BACKLOG_KEY,
    DEFAULT_QUEUE,
    JOBS_KEY,
    LANES,
    MANIFESTS_KEY,
    QUEUES_KEY,
    TENANT_JOBS_KEY_PREFIX,
    WAKE,
    JobStatus,
    Priority,
    chunk_task_id,
    events_key,
    facts_key,
    is_id,
    job_key,
    result_key,
    seeds_key,
    ticket,
)
from producer.errors import JobNotFound, SettingsError
from producer.job import JobRecord
from producer.lua import SCRIPTS, Call
from producer.message import ChunkMessage, revoked_result
from producer.seeds import pack, shorten

MAX_PLACE = 10_000
"""Entries of a lane among which a job's place is looked for; Redis answers nobody else meanwhile."""

MAX_COUNTED = 20_000
"""Active jobs that are counted again in one step."""

TOMBSTONE_S = 24 * 3600
"""Seconds that the record outlives the results, so that a late poll reads ``expired`` and not "not found"."""

MADE, EXISTS, CONFLICT, SEEDS_FULL, BYTES_FULL, SHARE_FULL, QUEUE_UNKNOWN = 1, 0, -1, -2, -3, -4, -5
"""What :func:`create_job` answers."""


class Extras(NamedTuple):
    """What a job has beside its seeds: whose it is, what its caller noted (JSON), and who is told of its end."""

    tenant: str = ""
    metadata: str = ""
    webhook: str = ""


class Bounds(NamedTuple):
    """How much may wait or run: seeds, bytes, and seeds of one tenant; 0 for any number."""

    seeds: int = 0
    bytes: int = 0
    share: int = 0


NO_EXTRAS, NO_BOUNDS = Extras(), Bounds()


def check_known(job_id: object) -> None:
    """Raise :class:`~producer.errors.JobNotFound` for what can be the id of no job."""
    if not is_id(job_id) or not job_id.isprintable():
        raise JobNotFound(job_id)


def count_chunks(seeds: Sequence[int], chunk_size: int) -> int:
    """Return the number of messages that a job is cut into."""
    return -(-len(seeds) // chunk_size)


def message_of(job_id: str, seeds: Sequence[int], chunk: int, *, chunk_size: int, priority: Priority) -> ChunkMessage:
    """Return the message of a chunk of a job that has these seeds."""
    part = tuple(seeds[chunk * chunk_size : (chunk + 1) * chunk_size])
    return ChunkMessage(chunk_task_id(job_id, chunk, count_chunks(seeds, chunk_size)), job_id, chunk, part, priority)


def create_job(
    job_id: str,
    seeds: Sequence[int],
    *,
    chunk_size: int,
    ttl_s: int,
    priority: Priority,
    queue: str = DEFAULT_QUEUE,
    force: bool = False,
    trace: str = "",
    extras: Extras = NO_EXTRAS,
    bounds: Bounds = NO_BOUNDS,
) -> Call:
    """Write the record and put the job's ticket into its lane; answers MADE, EXISTS, CONFLICT or another of those.

    Two jobs with equal seeds have one digest, whether a list or a range brought them. ``trace`` is the trace context
    that the record keeps.
    """
    lane, packed = LANES.index(priority.lane), pack(seeds)
    keys = [job_key(job_id), seeds_key(job_id), ACTIVE_KEY, facts_key(job_id), events_key(job_id)]
    args: list[str | int] = [job_id, hashlib.sha256(packed.encode()).hexdigest(), len(seeds)]
    args += [count_chunks(seeds, chunk_size), chunk_size, str(priority), ttl_s * 1000, TOMBSTONE_S * 1000]
    args += [packed, "" if queue == DEFAULT_QUEUE else queue, ticket(job_id), lane, int(force), trace, *extras, *bounds]
    return Call(SCRIPTS["create_job"], keys, args)


def read_job(job_id: str, *, place: bool = True) -> Call:
    """Read a job; :meth:`producer.job.JobRecord.read` reads the answer. Its place in the queue costs more to find."""
    return Call(SCRIPTS["read_job"], [job_key(job_id)], [ticket(job_id), WAKE, MAX_PLACE if place else 0])


def cancel_job(job_id: str) -> Call:
    """Cancel a job; answers 1, 0 if it had ended, -1 if it is unknown."""
    keys = [job_key(job_id), seeds_key(job_id), ACTIVE_KEY, result_key(job_id)]
    return Call(SCRIPTS["cancel_job"], keys, [job_id, ticket(job_id), revoked_result(job_id, "the job was canceled")])


def mend_ticket(job_id: str, tenant: str = "", queue: str = DEFAULT_QUEUE) -> Call:
    """Put a job's ticket where it belongs; answers how many chunks it stands for if it was missing, else 0.

    ``tenant`` and ``queue`` say in whose list it was found, for a job whose record has gone.
    """
    args: list[str | int] = [job_id, ticket(job_id), len(LANES), queue, tenant]
    return Call(SCRIPTS["mend_ticket"], [job_key(job_id), seeds_key(job_id)], args)


def mend_turn(tenant: str, queue: str = DEFAULT_QUEUE) -> Call:
    """Put a tenant's turn where it belongs in a queue; answers how many lanes it was missing in."""
    return Call(SCRIPTS["mend_turn"], [], [tenant, len(LANES), queue])


def expire_jobs(job_ids: Sequence[str]) -> Call:
    """Let go of those of these jobs that are active no more; answers how many that were."""
    return Call(SCRIPTS["expire_jobs"], [ACTIVE_KEY], job_ids)


def count_backlog() -> Call:
    """Count again what has not ended; answers 0 if there are too many jobs for that."""
    return Call(SCRIPTS["count_backlog"], [ACTIVE_KEY], [MAX_COUNTED])


@dataclass(frozen=True, slots=True)
class Backlog:
    """Seeds of accepted jobs that have not ended, the bytes that these jobs take, and the seeds that ended since ever.

    Seeds of cancelled and expired jobs count as ended. ``tenant_seeds`` and ``tenant_ended`` are those of one tenant,
    ``queues`` the seeds of each queue that have not ended.
    """

    now_ms: int
    seeds: int
    bytes: int
    ended: int
    tenant_seeds: int
    tenant_ended: int
    queues: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, answer: Sequence[Any]) -> Backlog:
        """Read what :func:`backlog` answered."""
        *numbers, queues = answer
        return cls(*(*numbers, dict(zip(queues[::2], queues[1::2], strict=True))))


def backlog(tenant: str = "") -> Call:
    """Read what has not ended, of all and of a tenant; :meth:`Backlog.parse` reads the answer."""
    return Call(SCRIPTS["read_backlog"], [BACKLOG_KEY, QUEUES_KEY], [tenant])


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first, and where to go on, ``None`` at the end; there may be more although there are few."""

    records: list[JobRecord]
    next: str | None

    @classmethod
    def parse(cls, answer: Sequence[Any]) -> JobPage:
        """Read what :func:`list_jobs` answered."""
        now_ms, following, *rest = answer
        pairs = zip(rest[::2], rest[1::2], strict=True)
        return cls([JobRecord.read(job, [flat, now_ms, -1]) for job, flat in pairs], following or None)


def list_jobs(*, tenant: str | None = None, after: str | None = None, limit: int = 100) -> Call:
    """Read jobs, newest first; :meth:`JobPage.parse` reads the answer.

    ``tenant`` is whose, ``None`` for everybody's; ``after`` is the ``next`` of the page before.

    Raises:
        SettingsError: ``after`` is none of a page.
    """
    score, _, job = (after or "").partition(":")
    if after is not None and not (score.isascii() and score.isdigit() and len(score) <= 15 and is_id(job)):
        raise SettingsError(f"after={shorten(after)}: give the 'next' of the page before")
    key = TENANT_JOBS_KEY_PREFIX + tenant if tenant else JOBS_KEY
    return Call(SCRIPTS["list_jobs"], [key], [limit, score, job])


class Entry(NamedTuple):
    """One change of a job: a chunk that has ended, a status that the job has since, or both.

    ``number`` is its place among them, from 1 on.
    """

    number: int
    chunk: int | None
    status: JobStatus | None


@dataclass(frozen=True, slots=True)
class Events:
    """A job with the changes since one of them."""

    record: JobRecord
    entries: list[Entry]

    @classmethod
    def parse(cls, job_id: str, answer: Sequence[Any], after: int = 0) -> Events:
        """Read what :func:`read_events` answered that was asked for those after one.

        Raises:
            JobNotFound: there is no record.
        """
        flat, now_ms, found = answer
        entries = []
        for number, text in enumerate(found, after + 1):
            chunk, _, status = text.partition(":")
            entries.append(Entry(number, int(chunk) if chunk else None, JobStatus(status) if status else None))
        return cls(JobRecord.read(job_id, [flat, now_ms, -1]), entries)


def read_events(job_id: str, *, after: int = 0, limit: int = 100) -> Call:
    """Read a job and its changes after the one of that number; :meth:`Events.parse` reads the answer."""
    return Call(SCRIPTS["read_events"], [job_key(job_id), events_key(job_id)], [after, limit])


@dataclass(frozen=True, slots=True)
class Claim:
    """A job whose manifest is this worker's to write for now."""

    job_id: str
    claim: str

    @classmethod
    def parse(cls, answer: Sequence[str]) -> Claim | None:
        """Read what :func:`claim_manifest` answered."""
        return cls(*answer) if answer else None


def claim_manifest(seconds: float) -> Call:
    """Take a job whose manifest is due, for so long; :meth:`Claim.parse` reads the answer."""
    return Call(SCRIPTS["claim_manifest"], [MANIFESTS_KEY], [int(seconds * 1000)])


def renew_manifest(claim: Claim, seconds: float) -> Call:
    """Keep a claim for so long from now on; :meth:`Claim.parse` reads the answer, nothing if it is another's by now."""
    return Call(SCRIPTS["renew_manifest"], [MANIFESTS_KEY], [claim.job_id, claim.claim, int(seconds * 1000)])


def settle_manifest(claim: Claim, *, uri: str) -> Call:
    """Note where a manifest has been written, or with "" that it never can be; answers 0 if it is another's by now."""
    return Call(SCRIPTS["settle_manifest"], [MANIFESTS_KEY, job_key(claim.job_id)], [claim.job_id, claim.claim, uri])
