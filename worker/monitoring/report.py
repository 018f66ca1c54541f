"""What monitors are told of the end of a chunk: a task event of Celery's, by what became of its seeds.

To Celery every chunk is a success, since its handler stores the result and raises nothing. The handler notes here, in
the thread that runs the chunk, what is to be told instead (worker/queue/request.py). Nothing else depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Self

from producer.attempts import Verdict

SUCCEEDED = "task-succeeded"


@dataclass(frozen=True, slots=True)
class Report:
    """An event: its type, and fields beside those that Celery gives to every event of a task."""

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def finished(cls, value: Mapping[str, Any]) -> Self:
        """Return that of a chunk with this result: failed if a seed failed, revoked if it was let go of."""
        failures = [entry["error"] or {} for entry in value["seeds"] if entry["status"] == "failed"]
        if failures:
            first = failures[0]
            reason = f"{len(failures)} of {len(value['seeds'])} seeds failed, the first: {first.get('message')}"
            return cls._failed(str(first.get("type")), reason)
        if value["canceled"]:
            return cls.revoked(while_running=True)
        told = {name: value[name] for name in ("job_id", "chunk", "succeeded", "failed")}
        return cls(SUCCEEDED, {"result": repr(told)})

    @classmethod
    def refused(cls, error: Exception) -> Self:
        """Return that of a message that is no chunk."""
        return cls._failed(type(error).__name__, str(error))

    @classmethod
    def given_back(cls, error: Exception) -> Self:
        """Return that of a chunk that goes back to the queue."""
        return cls("task-retried", {"exception": f"{type(error).__name__}({str(error)!r})", "traceback": ""})

    @classmethod
    def dropped(cls, verdict: Verdict) -> Self:
        """Return that of a chunk that is not run, or had ended before."""
        if verdict is Verdict.DONE:
            return cls(SUCCEEDED, {"result": "the chunk had ended before"})
        return cls.revoked(expired=verdict is Verdict.EXPIRED)

    @classmethod
    def revoked(cls, *, while_running: bool = False, expired: bool = False) -> Self:
        """Return that of a chunk that nobody wants any more."""
        return cls("task-revoked", {"terminated": while_running, "signum": None, "expired": expired})

    @classmethod
    def _failed(cls, kind: str, message: str) -> Self:
        return cls("task-failed", {"exception": f"{kind}({message!r})", "traceback": ""})


Send = Callable[[Report], object]

_noted: ContextVar[Report | None] = ContextVar("noted", default=None)
_send: ContextVar[Send | None] = ContextVar("send", default=None)


def begin(send: Send | None) -> None:
    """Begin with a chunk in this thread, whose reports ``send`` sends at once."""
    _noted.set(None)
    _send.set(send)


def note(report: Report) -> None:
    """Note what is to be told of the chunk that this thread runs, once its task has returned."""
    _noted.set(report)


def tell(report: Report) -> None:
    """Tell it now, before others can have the chunk and tell of it."""
    if send := _send.get():
        send(report)


def noted() -> Report | None:
    """Return what was noted last in this thread."""
    return _noted.get()
