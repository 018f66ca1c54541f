"""The end of a message that is no chunk: its dead letter, and the failure for those who wait for its task id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import uuid4

from producer.contract import QUEUE
from producer.dead import DeadLetter
from producer.message import MAX_ERROR_CHARACTERS, encode_celery_result


@dataclass(frozen=True, slots=True)
class Burial:
    """What is written when the message held under ``tag`` is buried; ``task_id`` is "" where it has none."""

    tag: str
    letter: DeadLetter
    task_id: str
    celery_result: str

    @classmethod
    def of(cls, tag: str, error: Exception, *, task_id: str, raw: str, whole: bool, lane: str = QUEUE) -> Self:
        """Return the burial of a message that ``error`` says is none; ``raw`` is its text, ``whole`` or cut."""
        kind, message = type(error).__name__, str(error)[:MAX_ERROR_CHARACTERS]
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        letter = DeadLetter(task_id or str(uuid4()), at, f"{kind}: {message}", lane, raw=raw, whole=whole)
        failure = {"exc_type": kind, "exc_message": [message], "exc_module": "builtins"}
        return cls(tag, letter, task_id, encode_celery_result(task_id, "FAILURE", failure))
