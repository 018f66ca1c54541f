"""Queues by name: which keys of Redis are a queue's own.

Part of the wire contract, as producer/contract.py is. A queue has lanes, and workers that serve it alone; everything
else (records of jobs, results, gallery, dead letters) is shared by all. The default queue has the keys of the contract.
producer/scripts/names.lua makes the same names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from producer.contract import (
    BEHIND_KEYS,
    CREDIT_KEY_PREFIX,
    DEFAULT_QUEUE,
    LANES,
    QUEUE,
    QUEUE_KEY_PREFIX,
    SWEPT_KEY,
    TURNS_KEY_PREFIX,
    WORKER_FACTS_KEY,
    WORKERS_KEY,
    Priority,
)

NAME = re.compile("[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The names of one queue; ``celery`` is that of Celery's queue, which is its first lane."""

    name: str
    celery: str
    lanes: tuple[str, ...]
    behind: tuple[str, ...]
    turns_prefix: str
    credit_prefix: str
    workers: str
    worker_facts: str
    swept: str

    def lane(self, priority: Priority) -> str:
        """The Redis list of messages of that priority."""
        return self.lanes[LANES.index(priority.lane)]

    def turns(self, lane: int, tenant: str) -> str:
        """Redis list of the tickets of a tenant's jobs in the lane of that number."""
        return f"{self.turns_prefix}{lane}:{tenant}"


def is_queue_name(value: object) -> bool:
    """Whether this can be the name of a queue."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


@cache
def queue_keys(name: str = DEFAULT_QUEUE) -> QueueKeys:
    """Return the names of a queue."""
    default = name == DEFAULT_QUEUE
    celery = QUEUE if default else f"{QUEUE}.{name}"

    def own(key: str) -> str:
        return key if default else f"{QUEUE_KEY_PREFIX}{name}:{key.removeprefix('seedmill:')}"

    return QueueKeys(
        name,
        celery,
        lanes=tuple(celery + lane.removeprefix(QUEUE) for lane in LANES),
        behind=tuple(map(own, BEHIND_KEYS)),
        turns_prefix=own(TURNS_KEY_PREFIX),
        credit_prefix=own(CREDIT_KEY_PREFIX),
        workers=own(WORKERS_KEY),
        worker_facts=own(WORKER_FACTS_KEY),
        swept=own(SWEPT_KEY),
    )
