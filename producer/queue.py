"""The queues at one moment: what waits in each lane, what workers hold, and which workers live.

A call to make and the reading of its answer; it talks to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from producer.contract import (
    ACTIVE_KEY,
    BACKLOG_KEY,
    BACKLOG_QUEUES_KEY,
    DEAD_INDEX_KEY,
    DEFAULT_QUEUE,
    HELD_KEY_PREFIX,
    JOB_KEY_PREFIX,
    LANES,
    MIXED,
    QUEUES_KEY,
    WAKE,
    Priority,
)
from producer.errors import QueueUnknown, SettingsError
from producer.lua import SCRIPTS, Call

REFUSALS = {
    -1: "workers: stop them first",
    -2: "jobs that have not ended, or messages: cancel them first, or wait",
    -3: "messages that a worker held which is gone: start one, which gives them back",
}


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """One queue: messages that wait and are held, ``backlog`` seeds that have not ended, how many workers live.

    ``model_id`` is the model that it is served with, also while no worker lives; ``None`` before any has, and where
    workers of several models may serve it.
    """

    waiting: int
    held: int
    backlog: int
    workers: int
    model_id: str | None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One look at all queues.

    ``waiting`` and ``held`` are messages (chunks of seeds, not seeds): in the queues, those included that the ticket of
    a job stands for there, and taken by a worker but not yet finished. ``interactive`` of those that wait are taken
    before the others; ``lanes`` has those that wait by Celery's priorities 0, 3, 6 and 9. ``active_jobs`` have not
    ended; the oldest of them was submitted ``oldest_job_s`` seconds ago (``None`` if there is none). ``dead_letters``
    are kept. ``workers`` has a description of each worker that lives, and ``queues`` the figures of each queue.
    """

    lanes: tuple[int, ...]
    held: int
    active_jobs: int
    oldest_job_s: float | None
    dead_letters: int
    workers: tuple[Mapping[str, Any], ...]
    queues: Mapping[str, QueueFigures] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Messages in the queues."""
        return sum(self.lanes)

    @property
    def interactive(self) -> int:
        """Those of them that are taken before the others."""
        return self.lanes[LANES.index(Priority.INTERACTIVE.lane)]

    def workers_of(self, queue: str) -> list[Mapping[str, Any]]:
        """Return the workers that live and serve that queue."""
        return [worker for worker in self.workers if worker.get("queue", DEFAULT_QUEUE) == queue]

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON-ready values."""
        return {
            "waiting": self.waiting,
            "interactive": self.interactive,
            "lanes": list(self.lanes),
            "held": self.held,
            "active_jobs": self.active_jobs,
            "oldest_job_s": self.oldest_job_s,
            "dead_letters": self.dead_letters,
            "queues": {name: asdict(figures) for name, figures in self.queues.items()},
            "workers": [dict(worker) for worker in self.workers],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> QueueStatus:
        """Read what :meth:`to_dict` wrote; unknown keys of a newer release are ignored."""
        values = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        queues = {
            name: QueueFigures(**{key: figures[key] for key in QueueFigures.__dataclass_fields__})
            for name, figures in data.get("queues", {}).items()
        }
        return cls(**{**values, "lanes": tuple(data["lanes"]), "workers": tuple(data["workers"]), "queues": queues})


def queue_status() -> Call:
    """Look at the queues; :func:`parse_queue_status` reads the answer."""
    keys = [QUEUES_KEY, ACTIVE_KEY, DEAD_INDEX_KEY, BACKLOG_KEY]
    return Call(SCRIPTS["queue_status"], keys, [HELD_KEY_PREFIX, WAKE, JOB_KEY_PREFIX, len(LANES)])


def forget_queue(name: str) -> Call:
    """Let go of a queue that nobody serves any more; :func:`check_forgotten` reads the answer.

    Raises:
        SettingsError: it is the default one, which is always there.
    """
    if name == DEFAULT_QUEUE:
        raise SettingsError(f"queue {name!r} is always there and cannot be forgotten")
    keys = [QUEUES_KEY, ACTIVE_KEY, BACKLOG_QUEUES_KEY]
    return Call(SCRIPTS["forget_queue"], keys, [name, len(LANES), JOB_KEY_PREFIX, WAKE])


def check_forgotten(name: str, answer: int) -> None:
    """Raise what it means that a queue was not forgotten.

    Raises:
        QueueUnknown: there is no such queue.
        SettingsError: it has workers, jobs or messages.
    """
    if answer == 0:
        raise QueueUnknown(name)
    if answer < 0:
        raise SettingsError(f"queue {name!r} has {REFUSALS[answer]}; it is not forgotten")


def parse_queue_status(answer: Sequence[Any]) -> QueueStatus:
    """Read what :func:`queue_status` answered."""
    seen, active, oldest_ms, dead = answer
    workers: list[Mapping[str, Any]] = []
    queues = {}
    for name, model, waiting, held, texts, seeds in sorted(seen):
        facts = [{**json.loads(text), "queue": name} for text in texts if text]
        workers += facts
        queues[name] = QueueFigures(sum(waiting), held, seeds, len(facts), None if model in ("", MIXED) else model)
    lanes = tuple(map(sum, zip(*(waiting for _, _, waiting, *_ in seen), strict=True)))
    held = sum(figures.held for figures in queues.values())
    oldest_s = oldest_ms / 1000 if oldest_ms >= 0 else None
    return QueueStatus(lanes, held, active, oldest_s, dead, tuple(workers), queues)
