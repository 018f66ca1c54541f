"""The queue at one moment: what waits in each lane, what workers hold, and which workers live.

A call to make and the reading of its answer; it talks to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from producer.contract import (
    ACTIVE_KEY,
    BEHIND_KEYS,
    DEAD_INDEX_KEY,
    HELD_KEY_PREFIX,
    JOB_KEY_PREFIX,
    LANES,
    WAKE,
    WORKER_FACTS_KEY,
    WORKERS_KEY,
    Priority,
)
from producer.lua import SCRIPTS, Call


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One look at the queue.

    ``waiting`` and ``held`` are messages (chunks of seeds, not seeds): in the queue, those included that the ticket of
    a job stands for there, and taken by a worker but not yet finished. ``interactive`` of those that wait are taken
    before the others; ``lanes`` has those that wait by Celery's priorities 0, 3, 6 and 9. ``active_jobs`` have not
    ended; the oldest of them was submitted ``oldest_job_s`` seconds ago (``None`` if there is none). ``dead_letters``
    are kept. ``workers`` has a description of each worker that lives.
    """

    lanes: tuple[int, ...]
    held: int
    active_jobs: int
    oldest_job_s: float | None
    dead_letters: int
    workers: tuple[Mapping[str, Any], ...]

    @property
    def waiting(self) -> int:
        """Messages in the queue."""
        return sum(self.lanes)

    @property
    def interactive(self) -> int:
        """Those of them that are taken before the others."""
        return self.lanes[LANES.index(Priority.INTERACTIVE.lane)]

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
            "workers": [dict(worker) for worker in self.workers],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> QueueStatus:
        """Read what :meth:`to_dict` wrote; unknown keys of a newer release are ignored."""
        values = {name: data[name] for name in cls.__dataclass_fields__}
        return cls(**{**values, "lanes": tuple(data["lanes"]), "workers": tuple(data["workers"])})


def queue_status() -> Call:
    """Look at the queue; :func:`parse_queue_status` reads the answer."""
    keys = [WORKERS_KEY, WORKER_FACTS_KEY, ACTIVE_KEY, DEAD_INDEX_KEY, *LANES, *BEHIND_KEYS]
    return Call(SCRIPTS["queue_status"], keys, [HELD_KEY_PREFIX, WAKE, JOB_KEY_PREFIX])


def parse_queue_status(answer: Sequence[Any]) -> QueueStatus:
    """Read what :func:`queue_status` answered."""
    waiting, held, workers, active, oldest_ms, dead = answer
    oldest_s = oldest_ms / 1000 if oldest_ms >= 0 else None
    facts = tuple(json.loads(text) for text in workers if text)
    return QueueStatus(tuple(waiting), held, active, oldest_s, dead, facts)
