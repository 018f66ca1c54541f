"""Celery's remote control commands, where Celery's own would lose work, break off, or claim what is not so.

Commands come from whoever may write to the broker, in the thread of the worker's loop; an answer is a mapping with the
key ``ok`` or ``error``, as Celery's are. Commands that only look are Celery's, but for ``stats``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import structlog
from celery.worker import control, state

from producer.contract import is_id
from producer.errors import QueueError
from producer.seeds import shorten
from worker.queue.ledger import Ledger
from worker.results import Cancellation

log = structlog.get_logger(__name__)

Answer = dict[str, Any]

PLAIN = (str, int, float, list)
"""Options of the transport that are told; the others are objects, which an answer cannot carry."""

MOST_IDS = 1000
"""Ids in one command: each is a call of Redis, in the thread that takes messages."""

NOT_HERE = {
    "rate_limit": "the speed is the device's; set SEEDMILL_CONCURRENCY or the number of workers",
    "time_limit": "a chunk has no time limit; SEEDMILL_DEVICE_TIMEOUT_S ends a worker whose device hangs",
    "pool_grow": "set SEEDMILL_CONCURRENCY at the start, or start more workers",
    "pool_shrink": "set SEEDMILL_CONCURRENCY at the start, or stop workers",
    "pool_restart": "stop this worker and start another",
    "autoscale": "start and stop workers",
    "revoke_by_stamped_headers": "revoke ids",
}
"""Commands that are refused, and what to do instead."""


class RemoteControl:
    """The commands of one worker.

    Args:
        ledger: what the worker holds.
        cancel: cancels a job of that id, or says what the id is.
        stop: begins the orderly end of the worker; called again it does nothing.
    """

    def __init__(self, ledger: Ledger, cancel: Callable[[str], Cancellation], stop: Callable[[], None]) -> None:
        self.paused = False
        """Whether it was told to take no more for a while."""
        self._ledger = ledger
        self._cancel = cancel
        self._stop = stop

    def register(self) -> None:
        """Put the commands in the place of Celery's, in this process."""
        for command in (self.shutdown, self.revoke, self.terminate, self.add_consumer, self.cancel_consumer):
            control.Panel.register(name=command.__name__)(command)
        control.Panel.register(name="stats", type="inspect")(self.stats)
        for name, advice in NOT_HERE.items():
            control.Panel.register(name=name)(_refusal(name, advice))

    def stats(self, state: Any) -> Answer:
        """Return Celery's statistics, and what this worker holds."""
        found: Answer = state.consumer.controller.stats()
        broker = dict(found["broker"])
        told = {name: value for name, value in broker["transport_options"].items() if isinstance(value, PLAIN)}
        broker["transport_options"] = told
        ours = {"worker": self._ledger.id, "held": self._ledger.held, "most_held": self._ledger.limit}
        return {**found, "broker": broker, "seedmill": ours}

    def shutdown(self, _: Any, **__: Any) -> Answer:
        """End as SIGTERM does."""
        self._stop()
        return {"ok": f"stopping: {self._ledger.held} messages are finished or given back"}

    def revoke(self, _: Any, task_id: object = None, **__: Any) -> Answer:
        """Cancel jobs; ids of which no job is known are remembered, for messages that are still to come."""
        given = task_id if isinstance(task_id, list) else [task_id]
        ids = [id_ for id_ in given if is_id(id_)]
        if len(ids) < len(given):
            return {"error": f"{shorten(task_id)}: revoke takes ids, which are short texts"}
        if len(ids) > MOST_IDS:
            return {"error": f"{len(ids)} ids: give at most {MOST_IDS} at a time"}
        return self._revoke(ids)

    def terminate(self, state: Any, task_id: object = None, **_: Any) -> Answer:
        """Do as :meth:`revoke`, which also lets go of what is at work; a thread has no use for the signal."""
        return self.revoke(state, task_id)

    def add_consumer(self, state: Any, queue: str, **_: Any) -> Answer:
        """Take messages again after :meth:`cancel_consumer`."""
        return self._consume(state, state.consumer.add_task_queue, queue, f"add consumer {queue}", paused=False)

    def cancel_consumer(self, state: Any, queue: str, **_: Any) -> Answer:
        """Take no more messages until told otherwise, and finish those that were taken."""
        return self._consume(
            state, state.consumer.cancel_task_queue, queue, f"no longer consuming from {queue}", paused=True
        )

    def _consume(self, state: Any, call: Callable[[str], object], queue: str, said: str, *, paused: bool) -> Answer:
        own = self._ledger.queue.celery
        if queue != own:
            return {"error": f"{shorten(queue)}: this worker takes from {own!r} alone"}
        state.consumer.call_soon(call, queue)
        self.paused = paused
        return {"ok": said}

    def _revoke(self, ids: Iterable[str]) -> Answer:
        told: dict[Cancellation, list[str]] = {}
        failed = ""
        for id_ in ids:
            try:
                outcome = self._cancel(id_)
            except QueueError as error:
                failed = f"{id_} and what follows it: {error}"
                break
            if outcome is Cancellation.UNKNOWN:
                state.revoked.add(id_)
            told.setdefault(outcome, []).append(id_)
        log.info("told to revoke", action="revoke", **{outcome.name.lower(): found for outcome, found in told.items()})
        texts = [f"{', '.join(found)}: {outcome.value}" for outcome, found in told.items()]
        is_wrong = failed or Cancellation.CHUNK in told
        return {"error" if is_wrong else "ok": "; ".join([*texts, failed] if failed else texts)}


def _refusal(name: str, advice: str) -> Callable[..., Answer]:
    def refuse(_: Any, **__: Any) -> Answer:
        return {"error": f"{name} does not work here: {advice}"}

    return refuse
