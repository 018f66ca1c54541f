"""The job record in Redis: every step of its life is one Lua script, so that no reader sees half of one.

Calls are described here and carried out by the clients (blocking or asyncio) and by the worker. The scripts lie in
producer/scripts/; all of them take the time from the Redis server.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from uuid import uuid4

from producer.contract import (
    MAX_JOB_CHUNKS,
    QUEUE,
    WORKER_TTL_S,
    WORKERS_KEY,
    ChunkMessage,
    chunk_task_id,
    facts_key,
    is_id,
    job_key,
    result_key,
)
from producer.errors import InvalidJobId, JobNotFound, SettingsError
from producer.job import QueueStatus
from producer.seeds import Seeds, check_seeds, cut, shorten
from producer.settings import ProducerSettings

TOMBSTONE_S = 24 * 3600
"""Seconds that the record outlives the results, so that a late poll reads ``expired`` and not "not found"."""

UNACKED_KEY = "unacked"
"""Where kombu's Redis transport keeps the messages that workers hold."""

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

SCRIPTS = {
    path.name.removesuffix(".lua"): path.read_text(encoding="utf-8")
    for path in files(__package__).joinpath("scripts").iterdir()
    if path.name.endswith(".lua")
}


@dataclass(frozen=True, slots=True)
class Call:
    """One Lua script with its keys and arguments."""

    script: str
    keys: Sequence[str]
    args: Sequence[str | int]


class Verdict(StrEnum):
    """What a worker does with a chunk that it has taken."""

    RUN = "run"
    DONE = "done"
    CANCELED = "canceled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


def submission(seeds: Seeds, job_id: str | None, settings: ProducerSettings) -> tuple[Call, str]:
    """Check what a caller wants enqueued; returns the call that does it and the job's id (UUID 4 if none was given).

    Raises:
        InvalidSeed, InvalidJobId, SettingsError: naming the value.
    """
    checked = check_seeds(seeds)
    job_id = str(uuid4()) if job_id is None else job_id
    if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
        raise InvalidJobId(f"{shorten(job_id)} is not a job id: use 1 to 64 letters, digits, '-' and '_'")
    chunks = count_chunks(checked, settings.chunk_size)
    if chunks > MAX_JOB_CHUNKS:
        raise SettingsError(
            f"chunk_size={settings.chunk_size} makes {chunks} messages of {len(checked)} seeds, more than "
            f"{MAX_JOB_CHUNKS}: raise it (SEEDMILL_CHUNK_SIZE), or submit several jobs"
        )
    return create_job(job_id, checked, chunk_size=settings.chunk_size, ttl_s=settings.result_ttl_s), job_id


def check_known(job_id: object) -> None:
    """Raise :class:`~producer.errors.JobNotFound` for what can be the id of no job."""
    if not is_id(job_id) or not job_id.isprintable():
        raise JobNotFound(job_id)


def count_chunks(seeds: Sequence[int], chunk_size: int) -> int:
    """Return the number of messages that a job is cut into."""
    return -(-len(seeds) // chunk_size)


def messages_of(job_id: str, seeds: Sequence[int], chunk_size: int) -> list[ChunkMessage]:
    """Cut a job into its messages, in order."""
    chunks = count_chunks(seeds, chunk_size)
    return [
        ChunkMessage(chunk_task_id(job_id, number, chunks), job_id, number, part)
        for number, part in enumerate(cut(seeds, chunk_size))
    ]


def digest(seeds: Sequence[int]) -> str:
    """Return the SHA-256 of the seeds as little-endian 32-bit numbers: two jobs of one digest are one job."""
    numbers = array("I", seeds)
    if sys.byteorder == "big":
        numbers.byteswap()
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def create_job(job_id: str, seeds: Sequence[int], *, chunk_size: int, ttl_s: int) -> Call:
    """Write the record and enqueue all messages; answers 1, 0 if the job exists already, -1 if it has other seeds."""
    messages = messages_of(job_id, seeds, chunk_size)
    args: list[str | int] = [digest(seeds), len(seeds), len(messages), ttl_s * 1000, TOMBSTONE_S * 1000]
    args += [message.encode() for message in messages]
    return Call(SCRIPTS["create_job"], [job_key(job_id), QUEUE], args)


def cancel_job(job_id: str) -> Call:
    """Cancel a job; answers 1, 0 if it had ended, -1 if it is unknown."""
    return Call(SCRIPTS["cancel_job"], [job_key(job_id)], [])


def start_chunk(message: ChunkMessage, *, adopt: bool, ttl_s: int) -> Call:
    """Take up a chunk; answers a :class:`Verdict`. ``adopt`` makes the record that a foreign app did not write."""
    args = [message.chunk, len(message.seeds), int(adopt), ttl_s * 1000, TOMBSTONE_S * 1000]
    return Call(SCRIPTS["start_chunk"], [job_key(message.job_id), facts_key(message.job_id)], args)


def finish_chunk(message: ChunkMessage, succeeded: int, failed: int, celery_result: str, *, ttl_s: int) -> Call:
    """Store the Celery result of a chunk and count its seeds; answers 1, or 0 if it had been counted before."""
    keys = [job_key(message.job_id), facts_key(message.job_id), result_key(message.task_id)]
    args: list[str | int] = [message.chunk, succeeded, failed, celery_result, ttl_s * 1000, TOMBSTONE_S * 1000]
    return Call(SCRIPTS["finish_chunk"], keys, args)


def drop_chunk(message: ChunkMessage, celery_result: str, *, ttl_s: int) -> Call:
    """Store why a chunk is not run; answers 1, or 0 if it has a result already."""
    keys = [job_key(message.job_id), facts_key(message.job_id), result_key(message.task_id)]
    return Call(SCRIPTS["drop_chunk"], keys, [message.chunk, len(message.seeds), celery_result, ttl_s * 1000])


def give_back(message: ChunkMessage) -> Call:
    """Note that a chunk goes back to the queue unfinished; answers 1, or 0 if it was not running."""
    keys = [job_key(message.job_id), facts_key(message.job_id)]
    return Call(SCRIPTS["give_back"], keys, [message.chunk, len(message.seeds)])


def heartbeat(description: str) -> Call:
    """Say that a worker lives."""
    return Call(SCRIPTS["heartbeat"], [WORKERS_KEY], [description, int(WORKER_TTL_S)])


def queue_status() -> Call:
    """Look at the queue; :func:`parse_queue_status` reads the answer."""
    return Call(SCRIPTS["queue_status"], [QUEUE, UNACKED_KEY, WORKERS_KEY], [int(WORKER_TTL_S)])


def parse_queue_status(answer: Sequence[object]) -> QueueStatus:
    """Read what :func:`queue_status` answered."""
    waiting, held, workers = answer
    return QueueStatus(int(str(waiting)), int(str(held)), tuple(json.loads(text) for text in workers))  # type: ignore[attr-defined]
