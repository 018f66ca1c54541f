"""The queue at one moment: what waits in each lane, what workers hold, and which workers live.

A call to make and the reading of its answer; it talks to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from producer.contract import BEHIND_KEYS, HELD_KEY_PREFIX, LANES, WAKE, WORKER_FACTS_KEY, WORKERS_KEY, Priority
from producer.records import SCRIPTS, Call


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One look at the queue.

    ``waiting`` and ``held`` are messages (chunks of seeds, not seeds): in the queue, those included that the ticket of
    a job stands for there, and taken by a worker but not yet finished. ``interactive`` of those that wait are taken
    before the others. ``workers`` has a description of each worker that lives.
    """

    waiting: int
    interactive: int
    held: int
    workers: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON-ready values."""
        return {
            "waiting": self.waiting,
            "interactive": self.interactive,
            "held": self.held,
            "workers": [dict(worker) for worker in self.workers],
        }


def queue_status() -> Call:
    """Look at the queue; :func:`parse_queue_status` reads the answer."""
    keys = [WORKERS_KEY, WORKER_FACTS_KEY, *LANES, *BEHIND_KEYS]
    return Call(SCRIPTS["queue_status"], keys, [HELD_KEY_PREFIX, WAKE])


def parse_queue_status(answer: Sequence[Any]) -> QueueStatus:
    """Read what :func:`queue_status` answered."""
    waiting, held, workers = answer
    interactive = waiting[LANES.index(Priority.INTERACTIVE.lane)]
    return QueueStatus(sum(waiting), interactive, held, tuple(json.loads(text) for text in workers if text))
