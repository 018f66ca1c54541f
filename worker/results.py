"""Outcomes on their way to Redis: this module alone writes job records, Celery results and dead letters of chunks.

A chunk's result, its counts, its dead letter and the acknowledgement of its message are one step
(producer/scripts/finish_chunk.lua), and only once. An outage of Redis is waited for, with the result in hand.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import redis
import structlog

from producer import attempts, records
from producer.attempts import Ending, Start, Verdict
from producer.connection import reconnect, takes_no_writes, translated
from producer.contract import DEFAULT_QUEUE, JobStatus, SeedStatus, job_key
from producer.dead import DeadLetter
from producer.errors import QueueError, QueueUnreachable
from producer.gallery import encode_facts
from producer.lua import Call
from producer.message import ChunkMessage, SeedResult, chunk_result, encode_celery_result, revoked_result
from producer.queue_keys import queue_keys
from worker.errors import GivenBack
from worker.monitoring import metrics

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 2.0

COUNTED, UNCLAIMED = 1, -1
"""Answers to the end of a chunk: it counts; nobody runs it."""

REASONS = {
    Verdict.DONE: "the chunk had ended before",
    Verdict.CANCELED: "the job was canceled",
    Verdict.EXPIRED: "the job has expired",
}


class Cancellation(Enum):
    """What became of telling the queue to cancel an id; the values are fit for messages."""

    CANCELED = "the job is canceled"
    ENDED = "the job had ended, or was canceled already"
    CHUNK = "one chunk of a job, which is not canceled alone; revoke the id of the job"
    UNKNOWN = "no job known here, remembered for messages to come"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A chunk as it was taken.

    ``tag`` is that of its message; ``adopt`` says that a foreign app sent it; ``trace`` is the trace context that the
    message itself brought (producer/tracing.py), "" for none. ``unwanted`` says why such a message is not to be begun,
    if it was revoked or has expired.
    """

    message: ChunkMessage
    tag: str = ""
    adopt: bool = False
    trace: str = ""
    unwanted: Verdict | None = None


class Recorder:
    """Writes what became of chunks.

    Args:
        client: a connection that decodes replies.
        url: its URL, for messages.
        ttl_s: seconds that results live where the job's record does not say.
        held: key of the messages that this worker holds.
        model_id: whose results these are.
        gallery_size: most pictures that are listed as published, 0 for none.
        queue: the queue that this worker serves.
    """

    def __init__(
        self,
        client: redis.Redis,
        url: str,
        *,
        ttl_s: int,
        held: str,
        model_id: str = "",
        gallery_size: int = 0,
        queue: str = DEFAULT_QUEUE,
    ) -> None:
        self._redis = client
        self._url = url
        self._ttl_s = ttl_s
        self._held = held
        self._model_id = model_id
        self._gallery_size = gallery_size
        self._queue = queue
        self._stopping = threading.Event()

    def stop_waiting(self) -> None:
        """Wait no more for a Redis that does not answer: the worker is leaving."""
        self._stopping.set()

    def start(self, delivery: Delivery, *, alone: bool) -> Start:
        """Begin with a chunk; says whether to run it. ``alone``: nothing else is at work."""
        call = attempts.start_chunk(
            delivery.message,
            held=self._held,
            tag=delivery.tag,
            adopt=delivery.adopt,
            alone=alone,
            ttl_s=self._ttl_s,
            model_id=self._model_id,
            queue=self._queue,
        )
        return Start.parse(self._run(call))

    def finish(self, delivery: Delivery, results: Sequence[SeedResult], tried: int) -> dict[str, Any]:
        """Store the result of a chunk, count its seeds, acknowledge; returns the value of the Celery result.

        Raises:
            GivenBack: seeds failed, and it is not run here (any more).
        """
        message = delivery.message
        value = chunk_result(message, results)
        text = encode_celery_result(message.task_id, "SUCCESS", value)
        letter = _dead_letter(message, results, tried, self._queue)
        published = {
            result.seed: encode_facts(result.caption or "", {} if result.cached else result.timings)
            for result in results
            if result.status is SeedStatus.SUCCEEDED
        }
        counts = value["succeeded"], value["failed"]
        ending = Ending(*counts, text, letter.encode() if letter else "", self._model_id, published)
        held, tag, ttl_s, size = self._held, delivery.tag, self._ttl_s, self._gallery_size
        call = attempts.finish_chunk(message, ending, held=held, tag=tag, ttl_s=ttl_s, gallery_size=size)
        answer = self._run(call)
        if answer == UNCLAIMED:
            raise GivenBack("seeds failed of a chunk that was given back meanwhile")
        if answer == COUNTED:  # else another had recorded it
            metrics.count_chunk(*counts, value["canceled"], sum(result.cached for result in results))
            metrics.DEAD_LETTERS.inc(letter is not None)
        return value

    def drop(self, delivery: Delivery, verdict: Verdict) -> None:
        """Store why a chunk was not run, unless it has a result, as Celery does for a revoked task; acknowledge it."""
        text = revoked_result(delivery.message.task_id, REASONS[verdict])
        call = attempts.drop_chunk(delivery.message, text, ttl_s=self._ttl_s, held=self._held, tag=delivery.tag)
        self._run(call)

    def give_back(self, delivery: Delivery, *, counts: bool) -> None:
        """Note that a chunk goes back to the queue unfinished."""
        self._run(attempts.give_back(delivery.message, delivery=self._name(delivery), counts=counts))

    def condemn(self, delivery: Delivery, seed: int) -> None:
        """Note that a seed ends its worker and is not tried again."""
        self._run(attempts.condemn_seed(delivery.message, seed, delivery=self._name(delivery)))

    def begin(self, delivery: Delivery, seed: int) -> None:
        """Note that a chunk that is run alone begins with a seed."""
        self._run(attempts.note_seed(delivery.message, seed, delivery=self._name(delivery), queue=self._queue))

    def has_begun(self, delivery: Delivery) -> bool:
        """Return whether its job is known; that of a foreign app is from the moment that a worker begins with it."""
        with translated(self._url):
            return bool(self._redis.exists(job_key(delivery.message.job_id)))

    def cancel(self, id_: str) -> Cancellation:
        """Cancel the job of that id, unless it has ended; does not wait for a Redis that is away."""
        call = records.cancel_job(id_)
        job, _, chunk = id_.rpartition(".")
        with translated(self._url):
            answer = self._redis.register_script(call.script)(keys=call.keys, args=call.args)
            if answer == 1:
                return Cancellation.CANCELED
            if answer == 0:
                return Cancellation.ENDED
            is_chunk = chunk.isdecimal() and self._redis.exists(job_key(job))
            return Cancellation.CHUNK if is_chunk else Cancellation.UNKNOWN

    def canceled(self, jobs: Sequence[str]) -> list[str]:
        """Return those of the jobs that have been cancelled, or whose record is gone."""
        with translated(self._url):
            pipe: Any = self._redis.pipeline(transaction=False)
            for job in jobs:
                pipe.hget(job_key(job), "status")
            statuses = pipe.execute()
        return [job for job, status in zip(jobs, statuses, strict=True) if status in (None, JobStatus.CANCELED)]

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _name(self, delivery: Delivery) -> str:
        return attempts.delivery_name(self._held, delivery.tag)

    def _run(self, call: Call) -> Any:
        """Carry out a call; wait, with what it brings in hand, for a Redis that is away or takes no writes.

        Raises:
            QueueError: the worker is leaving, or Redis refused for good.
        """
        pause = RETRY_FIRST_S
        while True:
            try:
                with translated(self._url):
                    return self._redis.register_script(call.script)(keys=call.keys, args=call.args)
            except QueueError as error:
                if not isinstance(error, QueueUnreachable) and not takes_no_writes(error.__cause__):
                    raise
                reconnect(self._redis)
                metrics.RETRIES.labels("redis").inc()
                log.warning("Redis away or not writable, waiting", action="redis_waiting", error=str(error))
                if self._stopping.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311  # jitter is no secret
                    raise
                pause = min(2 * pause, RETRY_MAX_S)


def _dead_letter(
    message: ChunkMessage, results: Sequence[SeedResult], attempts: int, queue: str = DEFAULT_QUEUE
) -> DeadLetter | None:
    """Return the letter that keeps the failures of a chunk, or ``None`` if there are none."""
    failures = tuple(
        {"seed": result.seed, **{name: text[:200] for name, text in (result.error or {}).items()}}
        for result in results
        if result.status is SeedStatus.FAILED
    )
    if not failures:
        return None
    reason = f"{len(failures)} of {len(results)} seeds failed, the first with {failures[0].get('type')}"
    return DeadLetter(
        message.task_id,
        _now(),
        reason,
        lane=queue_keys(queue).lane(message.priority),
        job_id=message.job_id,
        chunk=message.chunk,
        attempts=attempts,
        seeds=message.seeds,
        failures=failures,
        queue=queue,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
