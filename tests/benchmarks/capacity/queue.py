"""The queue of the simulation: jobs by urgency, in turn, tenants before jobs, as worker/queue/scripts/take.lua."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import simpy

from producer.contract import TURN_SEEDS
from worker.queue.ledger import BACKWARDS_EVERY

URGENT, BULK = 0, 1


@dataclass
class Job:
    """Seeds that are asked for together, in chunks."""

    name: str
    total: int
    chunk: int
    ended: simpy.Event
    created_ms: float = 0.0
    tenant: str = ""
    lane: int = URGENT
    sent: int = 0
    done: int = 0
    ended_ms: float = 0.0

    def count(self, seeds: int, now_ms: float) -> None:
        """Count seeds that have ended."""
        self.done += seeds
        if self.done == self.total:
            self.ended_ms = now_ms
            self.ended.succeed()


@dataclass(eq=False)
class Message:
    """A chunk that a worker has taken."""

    job: Job
    seeds: int
    left: int
    made: simpy.Event

    @property
    def is_urgent(self) -> bool:
        """Whether it is of an interactive job."""
        return self.job.lane == URGENT


@dataclass
class Turns:
    """The jobs of one tenant in one lane, and the seeds left of its turn."""

    jobs: deque[Job] = field(default_factory=deque)
    left: int = TURN_SEEDS


class Queue:
    """Tickets of jobs in lanes."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._lanes: tuple[dict[str, Turns], dict[str, Turns]] = ({}, {})
        self.changed = env.event()

    @property
    def waiting(self) -> bool:
        """Whether anything is there to be taken."""
        return any(self._lanes)

    @property
    def urgent(self) -> bool:
        """Whether anything of the first lane is."""
        return bool(self._lanes[URGENT])

    def put(self, job: Job) -> None:
        """Enqueue a job; a job of nobody's has a turn of its own."""
        whose = job.tenant or f"job {job.name}"
        self._lanes[job.lane].setdefault(whose, Turns()).jobs.append(job)
        changed, self.changed = self.changed, self._env.event()
        changed.succeed()

    def take(self, messages: int, room: int, urgent: int, number: int) -> list[Message]:
        """Take as many messages as there is room for; ``number`` is that of this take."""
        taken: list[Message] = []
        lanes = (URGENT, BULK) if number % BACKWARDS_EVERY else (BULK, URGENT)
        for lane in lanes:
            while self._lanes[lane] and len(taken) < messages and (urgent if lane == URGENT else room) > 0:
                message = self._next(lane)
                taken.append(message)
                room -= message.seeds
                urgent -= message.seeds if lane == URGENT else 0
        return taken

    def _next(self, lane: int) -> Message:
        """Take the next chunk of the job whose turn it is, of the tenant whose turn it is."""
        tenants = self._lanes[lane]
        tenant = next(iter(tenants))
        turns = tenants[tenant]
        job = turns.jobs.popleft()
        seeds = min(job.chunk, job.total - job.sent)
        job.sent += seeds
        if job.sent < job.total:
            turns.jobs.append(job)
        turns.left -= seeds
        if not turns.jobs:
            del tenants[tenant]
        elif turns.left <= 0 or not job.tenant:
            turns.left = min(TURN_SEEDS, turns.left + TURN_SEEDS)
            tenants[tenant] = tenants.pop(tenant)
        return Message(job, seeds, seeds, self._env.event())
