"""What travels between producers and workers: the message of a chunk, and the result that comes back.

Part of the wire contract, as producer/contract.py is: the standard library alone, and changing anything is a release.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from producer.contract import DEFAULT_QUEUE, SCHEMA_VERSION, TASK_NAME, Priority, SeedStatus
from producer.queue_keys import queue_keys

MAX_ERROR_CHARACTERS = 2000
"""Longest reason of a failure that travels in a result."""


@dataclass(frozen=True, slots=True)
class ChunkMessage:
    """One Celery message: at most :data:`MAX_CHUNK_SIZE` seeds of one job."""

    task_id: str
    job_id: str
    chunk: int
    seeds: tuple[int, ...]
    priority: Priority = Priority.INTERACTIVE

    def encode(self, queue: str = DEFAULT_QUEUE) -> str:
        """Return the message as kombu's Redis transport stores it: :func:`message_template`, filled in."""
        job = _quoted(self.job_id)
        values = {
            "task": _quoted(self.task_id),
            "job": job,
            "innerjob": _quoted(job),
            "chunk": str(self.chunk),
            "count": str(len(self.seeds)),
            "seeds": ",".join(map(str, self.seeds)),
            "priority": str(self.priority.number),
        }
        return PLACE.sub(lambda place: values[place[1]], message_template(queue))


PLACE = re.compile("@([a-z]+)@")


def _quoted(text: str) -> str:
    """Return the text as it stands between the quotation marks of a JSON string."""
    return json.dumps(text)[1:-1]


_TEMPLATE = (
    r'{"body":"[[],{\"seeds\":[@seeds@],\"job_id\":\"@innerjob@\",\"chunk\":@chunk@},'
    r'{\"callbacks\":null,\"errbacks\":null,\"chain\":null,\"chord\":null}]",'
    '"content-encoding":"utf-8","content-type":"application/json",'
    f'"headers":{{"lang":"py","task":"{TASK_NAME}","id":"@task@","shadow":null,"eta":null,"expires":null,'
    '"group":null,"group_index":null,"retries":0,"timelimit":[null,null],"root_id":"@job@","parent_id":null,'
    """"argsrepr":"[]","kwargsrepr":"{'seeds': <@count@>, 'job_id': '@job@', 'chunk': @chunk@}","""
    '"origin":"seedmill","ignore_result":null,"replaced_task_nesting":0,"stamped_headers":null,"stamps":{}},'
    '"properties":{"correlation_id":"@task@","reply_to":"","delivery_mode":2,'
    '"delivery_info":{"exchange":"","routing_key":"@queue@"},"priority":@priority@,"delivery_tag":"@task@"}}'
)


def message_template(queue: str) -> str:
    """Return the text of every message of ours in a queue, with places in it for what differs.

    It is Celery's task protocol 2 with a JSON body; worker/queue/scripts/take.lua fills it in as
    :meth:`ChunkMessage.encode` does. The field names follow
    https://docs.celeryq.dev/en/stable/internals/protocol.html; a test compares it with what Celery itself writes.
    """
    return _TEMPLATE.replace("@queue@", queue_keys(queue).celery)


SIGNED = ("image_url", "metadata_url")
"""Fields of a result that are made when it is read over HTTP."""


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What became of one seed; the fields after ``status`` are ``None`` where the seed failed.

    ``sha256`` and ``bytes`` are those of the PNG file; ``width`` and ``height`` are pixels; ``cached`` says that it was
    published before and not computed for this; ``timings`` are milliseconds of wall time by stage; ``error`` has the
    keys ``type`` and ``message``. ``image_url`` and ``metadata_url`` are presigned URLs, which the HTTP API alone
    gives; they are no part of what workers store.
    """

    seed: int
    status: SeedStatus
    caption: str | None = None
    image_uri: str | None = None
    metadata_uri: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    model_id: str | None = None
    cached: bool = False
    timings: Mapping[str, float] = field(default_factory=dict)
    error: Mapping[str, str] | None = None
    image_url: str | None = field(default=None, compare=False)
    metadata_url: str | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in SIGNED}
        return {**values, "timings": dict(self.timings), "error": dict(self.error) if self.error else None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SeedResult:
        """Read what :meth:`to_dict` wrote; unknown keys of a newer schema are ignored."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**{**known, "status": SeedStatus(data["status"])})

    @classmethod
    def failure(cls, seed: int, error: BaseException, *, timings: Mapping[str, float] | None = None) -> SeedResult:
        """Return the result of a seed that ended with ``error``; the failure travels as type and message."""
        message = (str(error) or repr(error))[:MAX_ERROR_CHARACTERS]
        reason = {"type": type(error).__name__, "message": message}
        return cls(seed, SeedStatus.FAILED, error=reason, timings=timings or {})


def chunk_result(message: ChunkMessage, results: Sequence[SeedResult]) -> dict[str, Any]:
    """Return the value that the Celery result of a chunk carries: counts, and one entry per seed in message order.

    Seeds that have none were left out because the job was cancelled.
    """
    succeeded = sum(r.status is SeedStatus.SUCCEEDED for r in results)
    return {
        "schema": SCHEMA_VERSION,
        "job_id": message.job_id,
        "chunk": message.chunk,
        "succeeded": succeeded,
        "failed": len(results) - succeeded,
        "canceled": len(message.seeds) - len(results),
        "seeds": [r.to_dict() for r in results],
    }


def encode_celery_result(task_id: str, state: str, result: object) -> str:
    """Return the text of a Celery result as its Redis backend stores it (JSON)."""
    meta = {
        "status": state,
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": datetime.now(UTC).isoformat(),
        "task_id": task_id,
    }
    return json.dumps(meta, separators=(",", ":"))


def revoked_result(task_id: str, reason: str) -> str:
    """Return the Celery result of a chunk that was dropped because its job was cancelled or has expired."""
    error = {"exc_type": "TaskRevokedError", "exc_message": [reason], "exc_module": "celery.exceptions"}
    return encode_celery_result(task_id, "REVOKED", error)


def decode_chunk_results(texts: Iterable[str | None]) -> Iterable[SeedResult]:
    """Yield the seed results of the given Celery results; chunks without one yet, or revoked, yield nothing."""
    for text in texts:
        result = json.loads(text).get("result") if text else None
        if isinstance(result, dict):
            for entry in result.get("seeds", ()):
                yield SeedResult.from_dict(entry)
