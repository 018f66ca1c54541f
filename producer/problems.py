"""Errors as they travel over HTTP: problem details (RFC 9457) with a stable ``type``, written here and read back here.

The API describes what was raised, the HTTP client raises the same again. Knows neither FastAPI nor an HTTP client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from producer import errors

TYPE_PREFIX = "urn:seedmill:problem:"
"""Before the name of a problem: what ``type`` says."""

MEDIA_TYPE = "application/problem+json"

Kind = type[errors.SeedmillError]

KINDS: Mapping[str, tuple[Kind, int, str]] = {
    "invalid-seed": (errors.InvalidSeed, 422, "Not a seed"),
    "invalid-job-id": (errors.InvalidJobId, 422, "Not a job id"),
    "invalid-uri": (errors.InvalidUri, 422, "Not the URI of an object"),
    "invalid-setting": (errors.SettingsError, 422, "A value that cannot be used"),
    "job-not-found": (errors.JobNotFound, 404, "No such job"),
    "job-conflict": (errors.JobConflict, 409, "There is another job of that id"),
    "results-lost": (errors.ResultsLost, 410, "Results are gone"),
    "dead-letter-not-found": (errors.DeadLetterNotFound, 404, "No such dead letter"),
    "replay-refused": (errors.ReplayRefused, 409, "It cannot be sent again"),
    "unauthorized": (errors.Unauthorized, 401, "An API key is needed"),
    "forbidden": (errors.Forbidden, 403, "The API key lacks a scope"),
    "rate-limited": (errors.RateLimited, 429, "Too many requests"),
    "share-full": (errors.QueueFull, 429, "Your share of the queue is full"),
    "queue-full": (errors.QueueFull, 503, "The queue is full"),
    "queue-unknown": (errors.QueueUnknown, 409, "No such queue"),
    "queue-refused": (errors.QueueRefused, 503, "The queue refused"),
    "queue-unreachable": (errors.QueueUnreachable, 503, "The queue does not answer"),
}
"""By name, as it stands in ``type``: the exception, the status of the answer, and what it is called."""

PROTOCOL = {
    "invalid-request": (422, "The request cannot be understood"),
    "not-found": (404, "No such resource"),
    "method-not-allowed": (405, "Not possible here"),
    "misdirected": (421, "The request names another host"),
    "cross-origin": (403, "The request comes from a page of another origin"),
    "webhook-not-found": (404, "No such webhook"),
    "not-published": (404, "That picture is not published"),
    "body-too-large": (413, "The body is too large"),
    "key-reused": (422, "The Idempotency-Key was used with another request"),
    "key-in-progress": (409, "The first request with this Idempotency-Key is still in progress"),
    "storage-unreachable": (503, "The object store does not answer"),
    "internal-error": (500, "An error of the server"),
}
"""Problems that are no exception of a client's calls: status and title by name."""

MEMBERS = ("job_id", "letter_id", "queue")
"""What errors know besides, and problems have as members."""

UNREACHABLE = frozenset({408, 425, 502, 503, 504, *range(520, 525)})
"""Statuses by which proxies say that nobody answered behind them, or not in time; from 520 on they are Cloudflare's."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem details: ``name`` is the end of ``type``, ``members`` are further ones of this problem alone."""

    name: str
    status: int
    title: str
    detail: str
    retry_after_s: int | None = None
    members: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object that an answer carries."""
        values = {"type": TYPE_PREFIX + self.name, "title": self.title, "status": self.status, "detail": self.detail}
        return {**self.members, **values}


def of_error(error: errors.SeedmillError) -> Problem:
    """Return the problem that an exception of a call is; one that is in no row of the table is an internal error."""
    retry = getattr(error, "retry_after_s", None)
    members = {name: getattr(error, name) for name in MEMBERS if isinstance(getattr(error, name, None), str)}
    for name, (kind, status, title) in KINDS.items():
        if isinstance(error, kind) and name == getattr(error, "problem", name):
            return Problem(name, status, title, str(error), retry, members)
    return protocol("internal-error", str(error))


def protocol(name: str, detail: str, *, retry_after_s: int | None = None, **members: Any) -> Problem:
    """Return a problem of :data:`PROTOCOL`."""
    status, title = PROTOCOL[name]
    return Problem(name, status, title, detail, retry_after_s, members)


def to_error(document: Mapping[str, Any], status: int, retry_after_s: int | None = None) -> errors.SeedmillError:
    """Return the exception that an answer's problem stands for, with the same message.

    One that this release does not know is judged by the status of the answer.
    """
    name = str(document.get("type", "")).removeprefix(TYPE_PREFIX)
    detail = str(document.get("detail") or document.get("title") or f"the API answered with status {status}")
    kind = KINDS[name][0] if name in KINDS else _by_status(status)
    error = kind.__new__(kind)
    Exception.__init__(error, detail)
    if issubclass(kind, errors.QueueFull | errors.RateLimited):
        error.retry_after_s = retry_after_s or 1  # type: ignore[attr-defined]
    if issubclass(kind, errors.QueueFull):
        error.problem = name  # type: ignore[attr-defined]
    for member in MEMBERS:
        if member in document:
            setattr(error, member, document[member])
    return error


def _by_status(status: int) -> Kind:
    if status in UNREACHABLE:
        return errors.QueueUnreachable
    known: dict[int, Kind] = {401: errors.Unauthorized, 403: errors.Forbidden, 429: errors.RateLimited}
    return known.get(status, errors.QueueRefused if status >= 500 else errors.SettingsError)
