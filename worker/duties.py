"""What a worker does beside its work: saying that it lives, looking after others, heeding cancellations, and so on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import redis
import structlog

from producer.connection import takes_no_writes
from producer.queue import parse_queue_status, queue_status
from producer.reconcile import looks_complete, reconcile
from worker.errors import QueueTaken
from worker.manifest import ManifestWriter
from worker.monitoring import metrics
from worker.monitoring.heartbeat import Heartbeat
from worker.queue.ledger import Ledger
from worker.results import Recorder
from worker.routine import Routine
from worker.running import Running

log = structlog.get_logger(__name__)

BEAT_S = 1.0
CANCEL_S = 0.4
WATCH_S = 1.0
MANIFESTS_S = 1.0
QUEUE_METRICS_S = 5.0
RECONCILE_S = 60.0
RECONCILE_WHOLE_S = 600.0
RECONCILER_KEY = "seedmill:reconciler"
"""Held by the worker that looks for lost chunks this minute."""

QUEUE_SEEN_KEY = "seedmill:queues-seen"
"""What one worker has seen of the queues, for the metrics of all."""

SWEEP_S = 0.9
"""Seconds between two looks for workers that are gone, of which one in a beat is enough for all workers of a queue."""

RECONCILED_KEY = "seedmill:reconciled"
"""There as long as a look through all messages is recent."""


def heartbeat(ledger: Ledger, facts: Callable[[], Mapping[str, Any]], lost: Callable[[], object]) -> Routine:
    """Say that this worker lives, with what is so of it then, and give back what workers that are gone held.

    Calls ``lost`` if its queue has another model by now.
    """

    def turn() -> None:
        if beat(ledger, facts, lost):
            ledger.sweep(SWEEP_S)

    return Routine("heartbeat", BEAT_S, turn)


def beat(ledger: Ledger, facts: Callable[[], Mapping[str, Any]], lost: Callable[[], object]) -> bool:
    """Say that this worker lives; calls ``lost`` and returns ``False`` if its queue has another model by now."""
    try:
        ledger.beat(facts())
    except QueueTaken as error:
        log.critical("the queue is another model's", action="queue_lost", error=str(error))
        lost()
        return False
    return True


def heartbeat_file(heartbeat: Heartbeat) -> Routine:
    """Say so to the file system as well, where nothing of Redis is needed."""
    return Routine("heartbeat file", BEAT_S, heartbeat.beat)


def queue_metrics(client: redis.Redis) -> Routine:
    """Read for the metrics what only Redis knows; one worker looks for all, since that takes time with many jobs."""
    connection: Any = client
    call = queue_status()
    script = connection.register_script(call.script)

    def look() -> None:
        try:
            text = connection.get(QUEUE_SEEN_KEY)
            answer = json.loads(text) if text else script(keys=call.keys, args=call.args)
            metrics.show_queue(parse_queue_status(answer))
            if not text:
                connection.set(QUEUE_SEEN_KEY, json.dumps(answer), px=int(QUEUE_METRICS_S * 1000))
        except Exception as error:
            if not takes_no_writes(error):  # else what was read is shown
                metrics.show_queue(None)
            metrics.REDIS_UP.set(0)
            raise

    return Routine("queue metrics", QUEUE_METRICS_S, look)


def cancellations(recorder: Recorder, running: Running) -> Routine:
    """Let go of what belongs to jobs that have been cancelled."""

    def look() -> None:
        if jobs := running.jobs():
            for job in recorder.canceled(jobs):
                log.info("job canceled, let go of", action="job_let_go", job_id=job)
                running.cancel(job)

    return Routine("cancellations", CANCEL_S, look)


def watchdog(busy_s: Callable[[], float], limit_s: float, bark: Callable[[], object]) -> Routine:
    """Call ``bark`` once the device has been at a batch for ``limit_s`` seconds (0: however long), or has ended."""

    def look() -> None:
        if (busy := busy_s()) >= (limit_s or math.inf):
            log.critical("the device hangs", action="device_hung", busy_s=round(busy, 1), limit_s=limit_s)
            bark()

    return Routine("watchdog", WATCH_S, look)


def manifests(writer: ManifestWriter) -> Routine:
    """Write the manifests of jobs that have ended."""
    return Routine("manifests", MANIFESTS_S, writer.write_due)


def reconciler(client: redis.Redis) -> Routine:
    """Look once a minute, one worker for all, whether a chunk is in no list.

    That is a comparison of numbers; all messages are read if they differ, and every ten minutes.
    """
    connection: Any = client

    def look() -> None:
        if not connection.set(RECONCILER_KEY, "1", nx=True, ex=int(RECONCILE_S)):
            return
        if connection.exists(RECONCILED_KEY) and looks_complete(client):
            return
        connection.set(RECONCILED_KEY, "1", ex=int(RECONCILE_WHOLE_S))
        done = reconcile(client)
        if done.republished:
            log.warning("lost chunks enqueued again", action="reconciled", chunks=done.republished)

    return Routine("reconciler", RECONCILE_S, look)
