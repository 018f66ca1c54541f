"""Every exception that the producing side raises.

    SeedmillError
    |-- InvalidSeed        (also ValueError)
    |-- InvalidJobId       (also ValueError)
    |-- InvalidUri         (also ValueError)
    |-- SettingsError      (also ValueError)
    |-- ExtraMissing       (also ImportError)
    |-- JobError
    |   |-- JobNotFound    (also LookupError)
    |   |-- JobConflict
    |   |-- ResultsLost
    |   |-- JobFailed
    |   `-- JobTimeout     (also TimeoutError)
    |-- DeadLetterError
    |   |-- DeadLetterNotFound  (also LookupError)
    |   `-- ReplayRefused
    |-- AccessError
    |   |-- Unauthorized   (also PermissionError)
    |   |-- Forbidden      (also PermissionError)
    |   `-- ApiKeyNotFound (also LookupError)
    `-- QueueError
        |-- QueueUnreachable  (also ConnectionError)
        |-- QueueRefused
        |-- QueueUnknown      (also LookupError)
        |-- QueueFull
        `-- RateLimited

Messages name the value that was wrong and what to do. Errors of the Redis client are translated at the boundary
(producer/connection.py) and kept as the cause, those of the HTTP client likewise (producer/http_backend.py). Over HTTP
each travels as a problem (producer/problems.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producer.job import JobView


class SeedmillError(Exception):
    """Root of all errors of this package."""


class InvalidSeed(SeedmillError, ValueError):
    """A seed, list or range that cannot be a job; nothing was enqueued."""


class InvalidJobId(SeedmillError, ValueError):
    """A job id of the caller's own that cannot be used; nothing was enqueued."""


class InvalidUri(SeedmillError, ValueError):
    """What was given as the URI of a stored object is none."""

    def __init__(self, uri: object) -> None:
        super().__init__(f"{uri!r} is not the URI of an object: write s3://bucket/key, as results have it")
        self.uri = uri


class SettingsError(SeedmillError, ValueError):
    """A setting has a value that cannot be used; the message names the variable."""


class ExtraMissing(SeedmillError, ImportError):
    """An optional part of this package is not installed; the message says how to install it."""


class JobError(SeedmillError):
    """Something about one job."""


class JobNotFound(JobError, LookupError):
    """No record of that job: the id was never submitted, or its record has expired."""

    def __init__(self, job_id: object) -> None:
        super().__init__(f"job {job_id!r} is not found: it was never submitted here, or its record has expired")
        self.job_id = job_id


class JobConflict(JobError):
    """A job of that id exists already, with other seeds or of another tenant; nothing was enqueued."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"job {job_id!r} exists already with other seeds, or is not yours: choose another id; nothing was enqueued"
        )
        self.job_id = job_id


class ResultsLost(JobError):
    """The job has ended, but Redis no longer has all of its results; the objects in the bucket are not affected."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} has ended, but some of its results are no longer in Redis: submit it again")
        self.job_id = job_id


class JobFailed(JobError):
    """The job ended otherwise than succeeded; ``job`` has the counts, and the results of the seeds that succeeded."""

    def __init__(self, job: JobView) -> None:
        counts = job.counts
        detail = f"{counts.succeeded} succeeded, {counts.failed} failed, {counts.canceled} canceled"
        super().__init__(f"job {job.id} ended {job.status}: of {counts.total} seeds {detail}")
        self.job = job


class JobTimeout(JobError, TimeoutError):
    """The job had not ended in time; it goes on, and ``job`` can be waited for again."""

    def __init__(self, job: JobView, timeout_s: float) -> None:
        counts = job.counts
        done = counts.succeeded + counts.failed
        super().__init__(f"job {job.id} is still {job.status} after {timeout_s:g} s ({done} of {counts.total} seeds)")
        self.job = job
        self.timeout_s = timeout_s


class DeadLetterError(SeedmillError):
    """Something about one dead letter."""


class DeadLetterNotFound(DeadLetterError, LookupError):
    """There is no dead letter of that id, or no webhook that was given up; ``command`` lists those that there are."""

    def __init__(self, letter_id: object, command: str = "seedmill dead list") -> None:
        super().__init__(f"there is no dead letter {letter_id!r}: list them with {command}")
        self.letter_id = letter_id


class ReplayRefused(DeadLetterError):
    """A dead letter cannot be sent again; the message says why, and it stays where it is."""


class AccessError(SeedmillError):
    """The HTTP API does not let this caller do that."""


class Unauthorized(AccessError, PermissionError):
    """No API key was given, or one that is not known (any more)."""


class Forbidden(AccessError, PermissionError):
    """The API key lacks the scope that this needs."""


class ApiKeyNotFound(AccessError, LookupError):
    """There is no API key of that id."""

    def __init__(self, key_id: object) -> None:
        super().__init__(f"there is no API key {key_id!r}: list them with seedmill keys list")
        self.key_id = key_id


class QueueError(SeedmillError):
    """The queue could not do what was asked."""


class QueueUnreachable(QueueError, ConnectionError):
    """Redis or Valkey, or the HTTP API, does not answer."""


class QueueRefused(QueueError):
    """Redis or Valkey answered with a refusal: wrong password, missing right, or out of memory; or the API failed."""


class QueueUnknown(QueueError, LookupError):
    """No worker has ever served that queue; nothing was enqueued."""

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"queue {queue!r} is not known, since no worker has served it yet: start one with SEEDMILL_QUEUE={queue}, "
            "or choose another (seedmill queue lists them); nothing was enqueued"
        )
        self.queue = queue


class QueueFull(QueueError):
    """The queue, or this caller's share of it, holds as much as it may; nothing was enqueued.

    ``retry_after_s`` is when there should be room, as far as that can be told.
    """

    def __init__(self, message: str, retry_after_s: int, *, share: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.problem = "share-full" if share else "queue-full"


class RateLimited(QueueError):
    """This caller asks more often than it may; ``retry_after_s`` is when it may again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
