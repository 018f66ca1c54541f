"""Dead letters: chunks of which seeds failed, and messages that were no chunks, kept to be looked at and sent again.

Calls to make and the reading of their answers; it talks to nobody. Workers write them (worker/results.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from producer.contract import (
    ACTIVE_KEY,
    DEAD_INDEX_KEY,
    DEAD_KEY,
    DEFAULT_QUEUE,
    MANIFESTS_KEY,
    QUEUE,
    QUEUES_KEY,
    Priority,
    facts_key,
    job_key,
    result_key,
    seeds_key,
)
from producer.errors import DeadLetterNotFound, ReplayRefused, SettingsError
from producer.lua import SCRIPTS, Call
from producer.message import ChunkMessage
from producer.queue_keys import queue_keys
from producer.records import TOMBSTONE_S

KEYS = (DEAD_KEY, DEAD_INDEX_KEY)

OTHER_MODEL, NO_QUEUE = -3, -4


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be done, and why.

    ``id`` is the Celery task id where there is one. ``seeds`` are those of the whole chunk, ``failures`` name each
    seed that failed with ``type`` and ``message``; a letter without a job has the ``raw`` message instead, or its
    beginning. ``at`` is the worker's time in ISO 8601. ``queue`` is whose lane it came from.
    """

    id: str
    at: str
    reason: str
    lane: str = QUEUE
    job_id: str | None = None
    chunk: int = 0
    attempts: int = 0
    seeds: tuple[int, ...] = ()
    failures: tuple[Mapping[str, Any], ...] = ()
    raw: str | None = None
    whole: bool = True
    """Whether ``raw`` is the whole message; only then can it be sent again."""
    queue: str = DEFAULT_QUEUE

    def to_dict(self) -> dict[str, Any]:
        """Return the letter as JSON-ready values."""
        return asdict(self)

    def encode(self) -> str:
        """Return the letter as it is stored."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> DeadLetter:
        """Read what :meth:`encode` wrote."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DeadLetter:
        """Read what :meth:`to_dict` wrote; unknown keys of a newer release are ignored."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**{**known, "seeds": tuple(known["seeds"]), "failures": tuple(known["failures"])})

    def message(self) -> str:
        """Return the message that is sent again.

        Raises:
            ReplayRefused: the message was too long to be kept whole.
        """
        if self.job_id is not None:
            bulk = self.lane == queue_keys(self.queue).lane(Priority.BULK)
            priority = Priority.BULK if bulk else Priority.INTERACTIVE
            return ChunkMessage(self.id, self.job_id, self.chunk, self.seeds, priority).encode(self.queue)
        if self.raw is None or not self.whole:
            raise ReplayRefused(f"dead letter {self.id!r} was not kept whole: it cannot be sent again, only purged")
        return self.raw


def check_limit(limit: int) -> int:
    """Return ``limit``, or raise :class:`~producer.errors.SettingsError` if it is no number of letters."""
    if not isinstance(limit, int) or limit < 1:
        raise SettingsError(f"limit={limit!r} is not a number of dead letters: give one from 1 on")
    return limit


def list_dead(limit: int, letter_id: str = "") -> Call:
    """Read dead letters, newest first, or one; :func:`parse_dead` reads the answer."""
    return Call(SCRIPTS["list_dead"], KEYS, [check_limit(limit), letter_id])


def parse_dead(answer: Sequence[Any]) -> list[DeadLetter]:
    """Read what :func:`list_dead` answered."""
    return [DeadLetter.decode(text) for text in answer[1:] if text]


def only(letters: Sequence[DeadLetter], letter_id: str) -> DeadLetter:
    """Return the letter that was asked for, or raise :class:`~producer.errors.DeadLetterNotFound`."""
    if not letters:
        raise DeadLetterNotFound(letter_id)
    return letters[0]


def replay_dead(letter: DeadLetter) -> Call:
    """Send a dead letter to the queue again; :func:`check_replay` reads the answer."""
    job = letter.job_id or ""
    lanes = queue_keys(letter.queue).lanes
    lane = lanes.index(letter.lane) if letter.lane in lanes else 0
    keys = [*KEYS, job_key(job), facts_key(job), ACTIVE_KEY, result_key(letter.id), seeds_key(job), MANIFESTS_KEY]
    keys.append(QUEUES_KEY)
    args: list[str | int] = [letter.id, letter.message(), letter.queue, job, letter.chunk, TOMBSTONE_S * 1000, lane]
    return Call(SCRIPTS["replay_dead"], keys, args)


def check_replay(letter: DeadLetter, answer: int) -> None:
    """Raise what a refused replay means.

    Raises:
        DeadLetterNotFound: somebody was quicker.
        ReplayRefused: the job has expired, was cancelled, or was begun with another model, or there is no such queue.
    """
    if answer == 0:
        raise DeadLetterNotFound(letter.id)
    if answer == OTHER_MODEL:
        raise ReplayRefused(
            f"dead letter {letter.id!r}: queue {letter.queue!r} has another model by now than the one that began "
            f"its job {letter.job_id}: bring that back, or submit the seeds as a new job"
        )
    if answer == NO_QUEUE:
        raise ReplayRefused(
            f"dead letter {letter.id!r}: queue {letter.queue!r} is not known, since no worker has served it, or it was "
            f"forgotten: start a worker with SEEDMILL_QUEUE={letter.queue}"
        )
    if answer < 0:
        state = "has expired" if answer == -1 else "was canceled"
        raise ReplayRefused(
            f"dead letter {letter.id!r}: its job {letter.job_id} {state}; submit the seeds as a new job"
        )


def purge_dead(ids: Iterable[str]) -> Call:
    """Forget these letters, or all if there are none; answers how many are gone."""
    return Call(SCRIPTS["purge_dead"], KEYS, list(ids))
