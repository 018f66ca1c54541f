"""The Celery task: checks a message, hands its seeds over, and has the outcome recorded before the acknowledgement.

Knows neither torch nor boto3 nor the stages; those are behind ``process``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import Reject

from producer.contract import MAX_CHUNK_SIZE, TASK_NAME, ChunkMessage, SeedResult
from producer.errors import InvalidSeed, QueueError
from producer.records import Verdict
from producer.seeds import check_seeds
from worker.errors import InvalidMessage
from worker.results import Recorder

log = structlog.get_logger(__name__)

Process = Callable[[Sequence[int]], Sequence[SeedResult]]


def register(app: Celery, process: Process, recorder: Recorder) -> None:
    """Define the task on ``app``.

    The task stores its own result (together with the job's counts, in one step), so Celery is told to ignore the
    returned value; errors outside the seeds, such as a message that is no chunk, Celery stores as FAILURE.
    """

    @app.task(  # type: ignore[untyped-decorator]
        name=TASK_NAME,
        bind=True,
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
            except QueueError as error:
                log.warning("given back: Redis is away", action="chunk_given_back", error=str(error))
                raise Reject(error, requeue=True) from error


def read_message(task_id: str, seeds: Any, job_id: Any, chunk: Any) -> ChunkMessage:
    """Return the checked message; ``seeds`` is one seed or a list of at most :data:`MAX_CHUNK_SIZE`.

    Raises:
        InvalidSeed, InvalidMessage: naming the value.
    """
    checked = check_seeds(seeds)
    if len(checked) > MAX_CHUNK_SIZE:
        raise InvalidMessage(f"{len(checked)} seeds in one message, at most {MAX_CHUNK_SIZE}: send several")
    if not isinstance(job_id, str | None) or isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 0:
        raise InvalidMessage(f"job_id={job_id!r}, chunk={chunk!r}: leave them out, or use the seedmill client")
    return ChunkMessage(task_id, job_id or task_id, chunk, tuple(checked))


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


def _outcomes(message: ChunkMessage, process: Process) -> Sequence[SeedResult]:
    """Return an outcome per seed whatever happens, so that the job always ends."""
    try:
        return process(message.seeds)
    except Exception as error:  # outside any seed's own stages: all of them fail, with the reason
        log.exception("chunk failed", action="chunk_failed")
        return [SeedResult.failure(seed, error) for seed in message.seeds]
