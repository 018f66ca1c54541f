"""The service at a glance: its parts, what waits, how fast it goes, and who works. Told also while Redis is away."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from producer.api.admission import Admission
from producer.api.workers import Remembered, Workers
from producer.errors import QueueError
from producer.queue import QueueStatus
from producer.records import Backlog

SHOWN = ("queue", "model_id", "device", "trained", "image_size")
"""What everybody may know of a worker."""

DONE = ("seeds", "cached", "batches")
"""What a worker has done since its start (worker/monitoring/tally.py)."""

Checks = Mapping[str, Mapping[str, Any]]


class Status:
    """Looks at the service, once a second for all who ask.

    Args:
        readiness: whether the parts answer.
        workers: who works, and the queue.
        admission: what waits, and how fast it is done.
    """

    def __init__(self, readiness: Remembered[Any], workers: Workers, admission: Admission) -> None:
        self._readiness = readiness
        self._workers = workers
        self._admission = admission
        self._backlog = Remembered(admission.look)

    async def look(self, *, is_admin: bool) -> dict[str, Any]:
        """Return the status as it is answered; where workers run is for administrators."""
        checks: Checks = await self._readiness.get()
        queue, backlog = None, None
        if checks["redis"]["ok"]:  # one that does not answer is not asked again, since that may take long
            with suppress(QueueError):
                queue, backlog = await self._workers.status(), await self._backlog.get()
        return {
            "checks": checks,
            **_of_queues(queue),
            "seeds": None if backlog is None else self._seeds(backlog),
            "workers": [] if queue is None else [told(one, *DONE, is_admin=is_admin) for one in queue.workers],
        }

    def _seeds(self, backlog: Backlog) -> dict[str, Any]:
        speed = self._admission.speed()
        eta_s = round(backlog.seeds / speed, 1) if speed and backlog.seeds else None
        return {"waiting": backlog.seeds, "per_s": round(speed, 2), "eta_s": eta_s}


def told(worker: Mapping[str, Any], *more: str, is_admin: bool) -> dict[str, Any]:
    """Return what a caller may know of a worker, ``more`` of it than usual."""
    return {name: value for name, value in worker.items() if is_admin or name in (*SHOWN, *more)}


def _of_queues(status: QueueStatus | None) -> dict[str, Any]:
    """Return what is told of all queues together, and of each."""
    if status is None:
        return {"queue": None, "queues": None}
    told = status.to_dict()
    del told["workers"]
    queues = told.pop("queues")
    return {"queue": told, "queues": queues}
