"""The Celery task: checks a message, hands its seeds over, and has the outcome recorded before the acknowledgement.

Knows neither torch nor boto3 nor the stages; those are behind ``process``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import Reject

from producer.contract import (
    MAX_CHUNK_SIZE,
    MAX_ID_CHARACTERS,
    MAX_JOB_CHUNKS,
    TASK_NAME,
    ChunkMessage,
    SeedResult,
    is_id,
)
from producer.errors import InvalidSeed, QueueError
from producer.records import Verdict
from producer.seeds import check_seeds, shorten
from worker.errors import GivenBack, InvalidMessage
from worker.results import Recorder

log = structlog.get_logger(__name__)

GIVE_BACK_PAUSE_S = 1.0
"""Pause before a chunk goes back to the queue, so that one that comes back at once does not spin."""

Process = Callable[[Sequence[int]], Sequence[SeedResult]]


def register(app: Celery, process: Process, recorder: Recorder) -> None:
    """Define the task on ``app``.

    The task stores its own result (together with the job's counts, in one step), so Celery is told to ignore the
    returned value; errors outside the seeds, such as a message that is no chunk, Celery stores as FAILURE.
    """

    @app.task(  # type: ignore[untyped-decorator]
        name=TASK_NAME,
        bind=True,
        shared=False,
        acks_late=True,
        ignore_result=True,
        store_errors_even_if_ignored=True,
        throws=(InvalidSeed, InvalidMessage),
    )
    def generate(
        self: Any, seeds: Any = None, job_id: Any = None, chunk: Any = 0, **unknown: Any
    ) -> dict[str, Any] | None:
        if unknown:
            raise InvalidMessage(f"unknown arguments {sorted(unknown)}: send seeds alone")
        message = read_message(self.request.id, seeds, job_id, chunk)
        with structlog.contextvars.bound_contextvars(job_id=message.job_id, chunk=message.chunk):
            try:
                return run_chunk(message, process, recorder, adopt=job_id is None)
            except (QueueError, GivenBack) as error:
                give_back(message, recorder, error)
                raise Reject(error, requeue=True) from error


def read_message(task_id: str, seeds: Any, job_id: Any, chunk: Any) -> ChunkMessage:
    """Return the checked message; ``seeds`` is one seed or a list of at most :data:`MAX_CHUNK_SIZE`.

    Raises:
        InvalidSeed, InvalidMessage: naming the value.
    """
    checked = check_seeds(seeds)
    if len(checked) > MAX_CHUNK_SIZE:
        raise InvalidMessage(f"{len(checked)} seeds in one message, at most {MAX_CHUNK_SIZE}: send several")
    if len(task_id) > MAX_ID_CHARACTERS or (job_id is not None and not is_id(job_id)):
        raise InvalidMessage(f"task id {shorten(task_id)}, job_id={shorten(job_id)}: an id is a short text")
    limit = 1 if job_id is None else MAX_JOB_CHUNKS
    if isinstance(chunk, bool) or not isinstance(chunk, int) or not 0 <= chunk < limit:
        raise InvalidMessage(f"chunk={shorten(chunk)}: leave it out, or use the seedmill client")
    return ChunkMessage(task_id, task_id if job_id is None else job_id, chunk, tuple(checked))


def run_chunk(message: ChunkMessage, process: Process, recorder: Recorder, *, adopt: bool) -> dict[str, Any] | None:
    """Run a chunk unless its job says otherwise; returns the recorded result."""
    verdict = recorder.start(message, adopt=adopt)
    if verdict is Verdict.DONE:
        log.info("chunk was done before", action="chunk_redelivered")
        return None
    if verdict is not Verdict.RUN:
        log.info("chunk dropped", action="chunk_dropped", reason=str(verdict))
        recorder.drop(message, verdict)
        return None
    log.info("chunk started", action="chunk_started", seeds=len(message.seeds))
    value = recorder.finish(message, _outcomes(message, process))
    log.info("chunk finished", action="chunk_finished", succeeded=value["succeeded"], failed=value["failed"])
    return value


def give_back(message: ChunkMessage, recorder: Recorder, error: QueueError | GivenBack) -> None:
    """Note that a chunk goes back unfinished. Where Redis is away the note waits for whoever takes the chunk next."""
    log.warning("chunk given back", action="chunk_given_back", error=str(error))
    time.sleep(GIVE_BACK_PAUSE_S)
    if isinstance(error, GivenBack):
        with suppress(QueueError):
            recorder.give_back(message)


def _outcomes(message: ChunkMessage, process: Process) -> Sequence[SeedResult]:
    """Return an outcome per seed whatever happens, so that the job always ends; or raise GivenBack."""
    try:
        return process(message.seeds)
    except GivenBack:
        raise
    except Exception as error:  # outside any seed's own stages: all of them fail, with the reason
        log.exception("chunk failed", action="chunk_failed")
        return [SeedResult.failure(seed, error) for seed in message.seeds]
