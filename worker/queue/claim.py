"""Which model a queue is served with: the claim of a worker, and what to say where another model has the queue.

Redis decides, in one step with the worker's first sign of life (worker/queue/scripts/claim.lua).
"""

from __future__ import annotations

from producer.contract import MIXED
from worker.errors import QueueTaken

EXIT_QUEUE_TAKEN = 78
"""Exit status of a process whose queue is served with another model."""

ADVICE = "or serve another queue (SEEDMILL_QUEUE)"


def check_claim(queue: str, model: str, answer: tuple[str, int, str]) -> None:
    """Raise :class:`QueueTaken` unless Redis answered that the worker has the queue for this model."""
    served, workers, job = answer
    if not served:
        return
    has, wanted = ("several models" if one == MIXED else f"model {one}" for one in (served, model))
    if workers:
        who = "1 worker" if workers == 1 else f"{workers} workers"
        why = f"{who} with {has} serve it: stop them first, {ADVICE}"
    else:
        why = f"its job {job} was begun with {has}: bring that back until the job has ended, cancel the job, {ADVICE}"
    raise QueueTaken(
        f"queue {queue!r} is not to be had for {wanted}, so that no job has results of two: {why}; "
        "SEEDMILL_MIXED_MODELS=true on all its workers, from the first on, allows several"
    )


def check_kept(queue: str, model: str, served: str) -> None:
    """Raise :class:`QueueTaken` if a worker that has claimed a queue finds it served with another model."""
    if model and served not in ("", MIXED, model):
        raise QueueTaken(
            f"queue {queue!r} is served with model {served} by now, since this worker with {model} was taken for dead: "
            f"stop one of them, {ADVICE}"
        )
