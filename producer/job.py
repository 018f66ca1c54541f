"""What a job looks like from outside: its record as Redis holds it, read into counts and times.

Pure reading and arithmetic, shared by the blocking and the asyncio client; it talks to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from producer.contract import DEFAULT_QUEUE, JobStatus, Priority, chunk_task_id, result_key
from producer.errors import JobNotFound, ResultsLost
from producer.progress import eta_s, seeds_per_s

TIMES = ("created_at", "started_at", "completed_at", "expires_at")

RESULT_PAGE_CHUNKS = 64
"""Chunks whose results are read in one round trip."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Seeds of a job by state; the last five add up to ``total``."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int

    @property
    def done(self) -> int:
        """Seeds that have ended with a result."""
        return self.succeeded + self.failed


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The record of a job at one moment; times are aware UTC datetimes by the Redis server's clock.

    ``queue_position`` is how many entries of the queue, jobs or single messages, are taken before this job if no others
    come, exact up to 10,000; ``None`` if it is not queued, or that was not asked. ``seeds_per_s`` is how many seeds end
    in a second, as seen over the last half minute to minute, and ``eta_s`` the seconds left at that speed; ``None``
    where it does not run or none has ended. ``manifest_uri`` is where its manifest is, once it is written. ``metadata``
    is what the caller noted, ``webhook`` who is told of the end, and ``tenant`` whose job it is, "" for nobody's.
    ``queue`` is where it went, and ``model_id`` the model of all its results: ``None`` before a worker begins, and
    where workers of several models may serve the queue.
    """

    id: str
    status: JobStatus
    counts: Counts
    chunks: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime
    queue_position: int | None = None
    seeds_per_s: float | None = None
    eta_s: float | None = None
    manifest_uri: str | None = None
    priority: Priority = Priority.INTERACTIVE
    force: bool = False
    metadata: Mapping[str, Any] | None = None
    webhook: str | None = None
    tenant: str = ""
    queue: str = DEFAULT_QUEUE
    model_id: str | None = None

    @classmethod
    def read(cls, job_id: str, answer: Sequence[Any]) -> JobRecord:
        """Read what :func:`producer.records.read_job` answered.

        Raises:
            JobNotFound: there is no record.
        """
        flat, now_ms, position = answer
        if not flat:
            raise JobNotFound(job_id)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return cls.parse(job_id, fields, now_ms=int(now_ms), position=None if position < 0 else position)

    @classmethod
    def parse(cls, job_id: str, fields: Mapping[str, str], *, now_ms: int, position: int | None) -> JobRecord:
        """Read the Redis hash of a job (see producer/scripts/) as of that time of the server."""
        status = JobStatus.EXPIRED if now_ms >= int(fields["expires_ms"]) else JobStatus(fields["status"])
        counts = _counts(status, fields)
        speed = seeds_per_s(fields, now_ms) if status is JobStatus.RUNNING else None
        return cls(
            id=job_id,
            status=status,
            counts=counts,
            chunks=int(fields["chunks"]),
            created_at=_moment(fields["created_ms"]),
            started_at=_moment(fields["started_ms"]) if "started_ms" in fields else None,
            completed_at=_moment(fields["completed_ms"]) if "completed_ms" in fields else None,
            expires_at=_moment(fields["expires_ms"]),
            queue_position=position if status is JobStatus.QUEUED else None,
            seeds_per_s=speed,
            eta_s=eta_s(counts.total - counts.done, speed),
            manifest_uri=fields.get("manifest_uri"),
            priority=Priority(fields.get("priority", Priority.INTERACTIVE)),
            force=fields.get("force") == "1",
            metadata=json.loads(fields["metadata"]) if "metadata" in fields else None,
            webhook=fields.get("webhook"),
            tenant=fields.get("tenant", ""),
            queue=fields.get("queue", DEFAULT_QUEUE),
            model_id=fields.get("model_id"),
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JobRecord:
        """Read what :meth:`to_dict` wrote; what that leaves out, only those who talk to Redis need."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        known |= {name: data[name] and datetime.fromisoformat(data[name]) for name in TIMES}
        counts = Counts(**{name: data["counts"][name] for name in Counts.__dataclass_fields__})
        kinds = {"status": JobStatus(data["status"]), "priority": Priority(data["priority"])}
        return cls(**{"chunks": 0, **known, **kinds, "counts": counts})

    def result_key_pages(self) -> Iterator[list[str]]:
        """Yield the Redis keys of the chunks' results in order, a page at a time."""
        for start in range(0, self.chunks, RESULT_PAGE_CHUNKS):
            stop = min(start + RESULT_PAGE_CHUNKS, self.chunks)
            yield [result_key(chunk_task_id(self.id, chunk, self.chunks)) for chunk in range(start, stop)]

    def check_results(self, texts: Sequence[str | None]) -> None:
        """Raise :class:`~producer.errors.ResultsLost` if a job that has run to its end lacks a result."""
        if self.status in (JobStatus.SUCCEEDED, JobStatus.FAILED) and None in texts:
            raise ResultsLost(self.id)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values; times in ISO 8601."""
        return {
            "id": self.id,
            "status": str(self.status),
            "counts": asdict(self.counts),
            "created_at": self.created_at.isoformat(),
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "completed_at": self.completed_at.isoformat() if self.completed_at else None,
            "expires_at": self.expires_at.isoformat(),
            "queue_position": self.queue_position,
            "seeds_per_s": _rounded(self.seeds_per_s, 3),
            "eta_s": _rounded(self.eta_s, 1),
            "manifest_uri": self.manifest_uri,
            "priority": str(self.priority),
            "queue": self.queue,
            "model_id": self.model_id,
            "metadata": self.metadata,
        }


class JobView:
    """Read-only properties that :class:`~producer.client.Job` and :class:`~producer.aio.AsyncJob` share."""

    def __init__(self, record: JobRecord) -> None:
        self._record = record

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status} {self.counts.done}/{self.counts.total}>"

    @property
    def id(self) -> str:
        """The job's id; of a job of one message it is also the Celery task id."""
        return self._record.id

    @property
    def status(self) -> JobStatus:
        """The status when last refreshed."""
        return self._record.status

    @property
    def counts(self) -> Counts:
        """Seeds by state when last refreshed."""
        return self._record.counts

    @property
    def queue_position(self) -> int | None:
        """Entries of the queue that are taken before this job, 0 for none; ``None`` if it is not queued."""
        return self._record.queue_position

    @property
    def seeds_per_s(self) -> float | None:
        """Seeds that end in a second, seen over the last half minute to minute; ``None`` if that cannot be told."""
        return self._record.seeds_per_s

    @property
    def eta_s(self) -> float | None:
        """Seconds until the job ends, at its present speed; ``None`` if that cannot be told."""
        return self._record.eta_s

    @property
    def manifest_uri(self) -> str | None:
        """Where the manifest is, some time after a job of several seeds has ended; ``None`` before."""
        return self._record.manifest_uri

    @property
    def priority(self) -> Priority:
        """How urgent it is."""
        return self._record.priority

    @property
    def queue(self) -> str:
        """The queue that it went to."""
        return self._record.queue

    @property
    def model_id(self) -> str | None:
        """The model of all its results; ``None`` before a worker has begun, or where there may be several."""
        return self._record.model_id

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """What was given with the submit; ``None`` if nothing was."""
        return self._record.metadata

    @property
    def record(self) -> JobRecord:
        """All that was read when last refreshed, times included."""
        return self._record

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON-ready values, as ``seedmill status --json`` prints it."""
        return self._record.to_dict()


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _counts(status: JobStatus, fields: Mapping[str, str]) -> Counts:
    total, running, succeeded, failed = (int(fields[name]) for name in ("total", "running", "succeeded", "failed"))
    rest = total - succeeded - failed
    if status is JobStatus.CANCELED:  # what a worker has taken is still finished
        return Counts(total, 0, running, succeeded, failed, canceled=rest - running)
    return Counts(total, rest - running, running, succeeded, failed, canceled=0)
