"""The shapes of what operators ask: what the service is, whether it works, what waits, and who is at it.

As producer/api/schemas.py, of which they are a part.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from producer.api.schemas import Answer
from producer.keys import Scope


class Picture(Answer):
    """The form of every picture."""

    width: int
    height: int
    mode: str


class Info(Answer):
    """What this service is."""

    version: str
    models: list[str]
    workers: int
    picture: Picture | None
    limits: dict[str, int | None]
    scopes: list[Scope] = Field(description="What you may do.")
    auth: bool
    presigned_urls: bool


class QueueFigures(Answer):
    """One queue."""

    waiting: int = Field(description="Messages that wait.")
    held: int = Field(description="Messages that workers hold.")
    backlog: int = Field(description="Seeds that have not ended, whether they wait or are at work.")
    workers: int
    model_id: str | None = Field(description="Null before a worker has served it, or if there may be several.")


class QueueNow(Answer):
    """What waits in all queues, in messages, and what workers hold."""

    waiting: int
    interactive: int
    held: int
    active_jobs: int
    oldest_job_s: float | None
    dead_letters: int
    lanes: list[int]


class Queue(QueueNow):
    """One look at the queues; ``workers`` tells more to administrators."""

    queues: dict[str, QueueFigures]
    workers: list[dict[str, Any]]


class Health(Answer):
    """The process answers."""

    status: Literal["ok"]


class Check(Answer):
    """One of the parts that are needed; ``ok`` is null for one that is not configured."""

    ok: bool | None
    detail: str | None = None


class Readiness(Answer):
    """Whether jobs can be taken and done."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, Check]


class SeedsNow(Answer):
    """Seeds that have been accepted and have not ended."""

    waiting: int
    per_s: float = Field(description="Seeds a second in the last minute, while there were any; 0 if it is not known.")
    eta_s: float | None = Field(description="Seconds until all have ended; null if none waits, or nobody knows.")


class WorkerNow(Answer):
    """A worker, with what it has done since its start; an administrator sees more."""

    model_id: str
    queue: str
    seeds: int | None = Field(default=None, description="Seeds that it has published.")
    cached: int | None = Field(default=None, description="Those of them that were published before.")
    batches: dict[str, int] | None = Field(
        default=None, description="Batches by size, in powers of two: `4` is those of 3 or 4 seeds."
    )


class Status(Answer):
    """The service at a glance; ``queue``, ``queues`` and ``seeds`` are null while Redis does not answer."""

    checks: dict[str, Check]
    queue: QueueNow | None
    queues: dict[str, QueueFigures] | None
    seeds: SeedsNow | None
    workers: list[WorkerNow]
