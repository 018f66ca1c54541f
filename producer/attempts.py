"""What a worker does to the record of a job, chunk by chunk: calls that it carries out, and the reading of answers.

Each is one Lua script in producer/scripts/; the rest of a record's life is in producer/records.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from producer.contract import (
    ACTIVE_KEY,
    DEAD_INDEX_KEY,
    DEAD_KEY,
    DEFAULT_QUEUE,
    GALLERY_KEY,
    HELD_KEY_PREFIX,
    KNOWN_BLOCK,
    LANES,
    MANIFESTS_KEY,
    MAX_DEAD_LETTERS,
    PICTURES_KEY,
    QUEUES_KEY,
    facts_key,
    job_key,
    known_prefix,
    result_key,
    seeds_key,
)
from producer.lua import SCRIPTS, Call
from producer.message import ChunkMessage
from producer.queue_keys import queue_keys
from producer.records import TOMBSTONE_S
from producer.seeds import pack


class Verdict(StrEnum):
    """What a worker does with a chunk that it has taken."""

    RUN = "run"
    SUSPECT = "suspect"
    """An earlier attempt ended without a word: ask again once nothing else is at work, so that nothing else suffers."""
    DONE = "done"
    CANCELED = "canceled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """The job has no such chunk, or is in another queue."""
    GONE = "gone"
    """The worker was taken for dead and its messages were given back."""
    OTHER = "other"
    """The job was begun with another model: the chunk fails, so that no job has results of two."""


@dataclass(frozen=True, slots=True)
class Start:
    """The answer to :func:`start_chunk`.

    ``deaths`` are the attempts before this one that ended without a word, ``failures`` those that were given back as
    failures; ``deliveries`` counts all that were begun, with this one if it is to be run. ``stopped_at`` is
    the seed that the last attempt was at when it ended without a word, if it was run alone, and ``died`` the number of
    workers in a row that died at it. ``known`` are the seeds that should be published already; with
    ``force`` they are computed nevertheless. ``trace`` is the trace context of the submit (producer/tracing.py), and
    ``tenant`` whose job it is, "" for none.
    """

    verdict: Verdict
    deaths: int = 0
    failures: int = 0
    deliveries: int = 1
    condemned: frozenset[int] = frozenset()
    stopped_at: int | None = None
    died: int = 0
    known: frozenset[int] = frozenset()
    force: bool = False
    trace: str = ""
    tenant: str = ""

    @classmethod
    def parse(cls, answer: Sequence[str | int]) -> Start:
        """Read what the script answered."""
        verdict, deaths, failures, deliveries, condemned, at, known, force, trace, tenant = answer
        seed, _, died = str(at).partition(":")
        return cls(
            Verdict(str(verdict)),
            deaths=int(deaths),
            failures=int(failures),
            deliveries=int(deliveries),
            condemned=_numbers(condemned),
            stopped_at=int(seed) if seed else None,
            died=int(died or 0),
            known=_numbers(known),
            force=bool(force),
            trace=str(trace),
            tenant=str(tenant),
        )


def _numbers(text: str | int) -> frozenset[int]:
    return frozenset(int(number) for number in str(text).split(",") if number)


def delivery_name(held: str, tag: str) -> str:
    """Return what tells one taking of a message from all others: key of the messages held, and tag there."""
    return f"{held} {tag}"


def start_chunk(
    message: ChunkMessage,
    *,
    held: str,
    tag: str,
    adopt: bool,
    alone: bool,
    ttl_s: int,
    model_id: str = "",
    queue: str = DEFAULT_QUEUE,
) -> Call:
    """Begin with a chunk; :meth:`Start.parse` reads the answer.

    ``held`` is the key of the messages that the worker holds, this one under ``tag``; ``adopt`` makes the record that a
    foreign app did not write; ``alone`` says that nothing else is at work; ``model_id`` is whose published seeds count,
    and that of the worker, which serves ``queue``.
    """
    job = message.job_id
    args: list[str | int] = [job, message.chunk, len(message.seeds), int(adopt), int(alone)]
    args += [ttl_s * 1000, TOMBSTONE_S * 1000, pack(message.seeds) if adopt else ""]
    args += [delivery_name(held, tag), tag, HELD_KEY_PREFIX, known_prefix(model_id), KNOWN_BLOCK, queue, model_id]
    args += message.seeds
    keys = [job_key(job), facts_key(job), seeds_key(job), ACTIVE_KEY, held, queue_keys(queue).workers, QUEUES_KEY]
    return Call(SCRIPTS["start_chunk"], keys, args)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a chunk ended.

    Seeds by outcome, the text of its Celery result, and of its dead letter ("" for none); and what is published now:
    the model's id, and by seed what the gallery tells of the picture (producer/gallery.py).
    """

    succeeded: int
    failed: int
    celery_result: str
    dead_letter: str = ""
    model_id: str = ""
    published: Mapping[int, str] = field(default_factory=dict)


def finish_chunk(
    message: ChunkMessage, ending: Ending, *, held: str, tag: str, ttl_s: int, gallery_size: int = 0
) -> Call:
    """Store the result of a chunk, count its seeds, show what is published in the gallery, acknowledge its message.

    ``held`` and ``tag`` as for :func:`start_chunk`; with a ``gallery_size`` of 0 nothing is shown. Answers 1, or 0 if
    that is not counted: it had succeeded before, or this is no success and another delivery runs it; or -1 if this is
    none and nobody runs it: the message is not acknowledged then and has to go back.
    """
    job, task = message.job_id, message.task_id
    keys = [job_key(job), facts_key(job), result_key(task), seeds_key(job), ACTIVE_KEY, held, DEAD_KEY, DEAD_INDEX_KEY]
    keys += [MANIFESTS_KEY, PICTURES_KEY, GALLERY_KEY]
    args: list[str | int] = [job, message.chunk, len(message.seeds), ending.succeeded, ending.failed]
    args += [ending.celery_result, ttl_s * 1000, TOMBSTONE_S * 1000, tag, task, ending.dead_letter, MAX_DEAD_LETTERS]
    args += [delivery_name(held, tag), known_prefix(ending.model_id), KNOWN_BLOCK, gallery_size, ending.model_id]
    for seed, facts in ending.published.items():
        args += [seed, facts if gallery_size else ""]
    return Call(SCRIPTS["finish_chunk"], keys, args)


def drop_chunk(message: ChunkMessage, celery_result: str, *, ttl_s: int, held: str = "", tag: str = "") -> Call:
    """Store why a chunk is not run, and acknowledge its message; answers 1, or 0 if it has a result already."""
    keys = [job_key(message.job_id), facts_key(message.job_id), result_key(message.task_id), held]
    args: list[str | int] = [message.chunk, len(message.seeds), celery_result, ttl_s * 1000, tag, message.job_id]
    return Call(SCRIPTS["drop_chunk"], keys, args)


def give_back(message: ChunkMessage, *, delivery: str, counts: bool) -> Call:
    """Note that a chunk goes back to the queue unfinished; ``counts`` says whether that was a failure.

    Answers 1, or 0 if ``delivery`` does not run it (any more).
    """
    keys = [job_key(message.job_id), facts_key(message.job_id)]
    return Call(SCRIPTS["give_back"], keys, [message.chunk, len(message.seeds), delivery, int(counts)])


def condemn_seed(message: ChunkMessage, seed: int, *, delivery: str) -> Call:
    """Note that a seed ends its worker and is not tried again.

    Answers 1, or 0 if ``delivery`` does not run the chunk (any more).
    """
    return Call(SCRIPTS["condemn_seed"], [facts_key(message.job_id)], [message.chunk, seed, delivery])


def note_seed(message: ChunkMessage, seed: int, *, delivery: str, queue: str = DEFAULT_QUEUE) -> Call:
    """Note that a chunk that is run alone begins with a seed.

    Answers how many workers in a row had died at it before, or -1 if another delivery runs the chunk.
    """
    keys = [facts_key(message.job_id), queue_keys(queue).workers]
    return Call(SCRIPTS["note_seed"], keys, [message.chunk, seed, delivery, HELD_KEY_PREFIX])


def republish_chunk(message: ChunkMessage, queue: str = DEFAULT_QUEUE) -> Call:
    """Enqueue a chunk whose message is in no list; answers 1, or 0 if it or its job has ended."""
    lane = LANES.index(message.priority.lane)
    args: list[str | int] = [message.chunk, len(message.seeds), message.encode(queue), queue, lane]
    return Call(SCRIPTS["republish_chunk"], [job_key(message.job_id), facts_key(message.job_id)], args)
