"""The Celery task: checks a message, hands its seeds over, and has the outcome recorded with the acknowledgement.

Whatever happens to a chunk, one of three things is done to its message: it is settled together with its result, it is
given back, or, if Redis is away, it is kept until that can be told. Knows neither torch nor boto3 nor the stages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import Celery
from celery.utils.time import maybe_iso8601
from celery.worker import state

from producer.attempts import Verdict
from producer.contract import MAX_CHUNK_SIZE, MAX_ID_CHARACTERS, MAX_JOB_CHUNKS, TASK_NAME, Priority, is_id
from producer.errors import InvalidSeed, QueueError
from producer.message import ChunkMessage
from producer.seeds import check_seeds, shorten
from producer.tracing import FIELDS, pack
from worker.chunk import ChunkRunner
from worker.errors import GivenBack, InvalidMessage
from worker.monitoring import metrics
from worker.monitoring.report import Report, note, tell
from worker.queue.burial import Burial
from worker.queue.ledger import Ledger
from worker.queue.request import ChunkRequest
from worker.results import Delivery, Recorder
from worker.running import Running

log = structlog.get_logger(__name__)

RAW_CHARACTERS = 1000
"""Of the arguments of a refused message, as many are kept in its dead letter."""

GIVE_BACK_PAUSE_S = 1.0
"""Pause before a chunk goes back to the queue, so that one that comes back at once does not spin."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as Celery hands it over, with nothing checked.

    ``trace`` is the trace context in its headers, "" for none; ``unwanted`` says why Celery would not run it.
    """

    task_id: str
    tag: str
    priority: object
    arguments: dict[str, Any]
    trace: str = ""
    unwanted: Verdict | None = None


class Handler:
    """What is done with one message, from the moment that Celery has a thread for it."""

    def __init__(self, runner: ChunkRunner, recorder: Recorder, ledger: Ledger, running: Running) -> None:
        self._running = running
        self._runner = runner
        self._recorder = recorder
        self._ledger = ledger

    def handle(self, received: Received) -> dict[str, Any] | None:
        """Run a chunk and settle its message; returns the recorded value, or ``None`` if it was not run here."""
        task_id, tag, arguments = received.task_id, received.tag, received.arguments
        try:
            delivery = read_delivery(received)
        except (InvalidSeed, InvalidMessage) as error:
            self._refuse(task_id, tag, arguments, error)
            return None
        message = delivery.message
        bound = structlog.contextvars.bound_contextvars(job_id=message.job_id, chunk=message.chunk)
        with bound, self._running.delivery(delivery):
            return self._run(delivery, arguments)

    def _run(self, delivery: Delivery, arguments: dict[str, Any]) -> dict[str, Any] | None:
        try:
            value = self._runner.run(delivery)
        except InvalidMessage as error:
            self._refuse("", delivery.tag, arguments, error)  # the id is that of a chunk, whose result is another's
            return None
        except (QueueError, GivenBack) as error:
            self._give_back(delivery, error)
            return None
        except BaseException as error:  # nothing that escapes may cost the message
            log.exception("chunk left by an error", action="chunk_escaped")
            self._give_back(delivery, GivenBack(repr(error), counts=True))
            return None
        self._ledger.settled(delivery.tag)
        if value:
            note(Report.finished(value))
        return value

    def _refuse(self, task_id: str, tag: str, arguments: dict[str, Any], error: Exception) -> None:
        log.error("message refused", action="message_refused", task_id=task_id, error=str(error))
        metrics.CHUNKS.labels("refused").inc()
        raw = json.dumps(arguments, default=repr)[:RAW_CHARACTERS]
        self._ledger.bury([Burial.of(tag, error, task_id=task_id, raw=raw, whole=False)])
        note(Report.refused(error))

    def _give_back(self, delivery: Delivery, error: QueueError | GivenBack) -> None:
        """Put a chunk back; that is one of its attempts only if it may be the cause."""
        metrics.CHUNKS.labels("given_back").inc()
        log.warning("chunk given back", action="chunk_given_back", error=str(error))
        with suppress(QueueError):
            self._recorder.give_back(delivery, counts=isinstance(error, GivenBack) and error.counts)
        time.sleep(GIVE_BACK_PAUSE_S)
        with suppress(Exception):  # told first, since others tell of it once they have it
            tell(Report.given_back(error))
        self._ledger.give_back(delivery.tag)


def register(app: Celery, handle: Callable[[Received], dict[str, Any] | None]) -> None:
    """Define the task on ``app``; ``handle`` is :meth:`Handler.handle`.

    The result is stored by the handler, so Celery is told to ignore the returned value.
    """

    @app.task(  # type: ignore[untyped-decorator]
        name=TASK_NAME,
        bind=True,
        shared=False,
        acks_late=True,
        ignore_result=True,
        typing=False,
        Request=ChunkRequest,
    )
    def generate(self: Any, *positional: Any, **arguments: Any) -> dict[str, Any] | None:
        properties = self.request.properties or {}
        named = dict(zip(("seeds", "job_id", "chunk"), positional, strict=False))
        extra = {f"argument {number}": value for number, value in enumerate(positional[3:], 4)}
        twice = {f"{name} given twice": None for name in named.keys() & arguments.keys()}
        everything = {**named, **extra, **twice, **arguments}
        tag, priority = properties.get("delivery_tag", ""), properties.get("priority")
        trace, unwanted = read_trace(self.request), why_unwanted(self.request.id, self.request.expires)
        return handle(Received(self.request.id, tag, priority, everything, trace, unwanted))


def read_trace(request: Any) -> str:
    """Return the trace context in the headers of a message, "" for none.

    Celery keeps headers that it does not know as attributes of the request, and some of its versions nest them.
    """
    nested = request.headers if isinstance(request.headers, Mapping) else {}
    return pack({name: request.get(name) or nested.get(name) for name in FIELDS})


def why_unwanted(task_id: str, expires: str | None) -> Verdict | None:
    """Return why Celery would not run that task: it was revoked by remote control, or ``expires`` is past."""
    if task_id in state.revoked:
        return Verdict.CANCELED
    when = maybe_iso8601(expires)
    if when is None:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return Verdict.EXPIRED if when < datetime.now(UTC) else None


def read_delivery(received: Received) -> Delivery:
    """Return the checked chunk; ``seeds`` is one seed or a list of at most :data:`MAX_CHUNK_SIZE`.

    Raises:
        InvalidSeed, InvalidMessage: naming the value.
    """
    task_id, arguments = received.task_id, received.arguments
    if unknown := sorted(arguments.keys() - {"seeds", "job_id", "chunk"}):
        raise InvalidMessage(f"unknown arguments {shorten(unknown)}: send seeds alone")
    job_id, chunk = arguments.get("job_id"), arguments.get("chunk", 0)
    checked = check_seeds(arguments.get("seeds"))
    if len(checked) > MAX_CHUNK_SIZE:
        raise InvalidMessage(f"{len(checked)} seeds in one message, at most {MAX_CHUNK_SIZE}: send several")
    if len(task_id) > MAX_ID_CHARACTERS or (job_id is not None and not is_id(job_id)):
        raise InvalidMessage(f"task id {shorten(task_id)}, job_id={shorten(job_id)}: an id is a short text")
    limit = 1 if job_id is None else MAX_JOB_CHUNKS
    if isinstance(chunk, bool) or not isinstance(chunk, int) or not 0 <= chunk < limit:
        raise InvalidMessage(f"chunk={shorten(chunk)}: leave it out, or use the seedmill client")
    urgency = Priority.BULK if received.priority == Priority.BULK.number else Priority.INTERACTIVE
    job = task_id if job_id is None else job_id
    if task_id not in (job, f"{job}.{chunk}"):
        raise InvalidMessage(f"task id {shorten(task_id)} is not of job_id={shorten(job_id)}: leave job_id out")
    message = ChunkMessage(task_id, job, chunk, tuple(checked), urgency)
    adopt = job_id is None
    return Delivery(message, received.tag, adopt, received.trace, received.unwanted if adopt else None)
