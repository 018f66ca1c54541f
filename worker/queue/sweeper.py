"""The end of workers that are gone: what they held goes back to their queue, and they are forgotten.

A worker is gone when its lease has run out, which is made short when its connection is seen to be closed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import redis
import structlog

from producer.contract import HELD_KEY_PREFIX, WAKE
from producer.queue_keys import QueueKeys

log = structlog.get_logger(__name__)

DOUBT_S = 2.0
"""Seconds that a worker has to say that it lives, once its connection is seen to be closed."""

GRACE_S = 5.0
"""Seconds after an outage in which nobody is swept: the others are only just coming back."""

SCRIPTS = {
    path.name.removesuffix(".lua"): path.read_text(encoding="utf-8")
    for path in files(__package__).joinpath("scripts").iterdir()
    if path.name.endswith(".lua")
}


def run_script(client: Any, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Carry out one of the scripts in worker/queue/scripts/."""
    return client.register_script(SCRIPTS[script])(keys=keys, args=args)


class Sweeper:
    """Gives back what workers of a queue held; ``client`` does not decode replies."""

    def __init__(self, client: redis.Redis, queue: QueueKeys) -> None:
        self._redis: Any = client
        self._queue = queue
        self._server = ""
        self._quiet_until = 0.0

    def sweep(self, every_s: float) -> int:
        """Give back what workers that are gone held, unless that was done within so many seconds, by whichever worker.

        To look at all of them costs the more, the more there are. Returns how many messages went back.
        """
        if self._server_is_new() or (every_s and not self._is_due(every_s)):
            return 0
        self._doubt_the_disconnected()
        returned = 0
        while swept := self._sweep():
            for worker, messages in swept:
                log.warning("a worker is gone", action="worker_swept", worker=worker.decode(), messages=messages)
                returned += messages
        return returned

    def leave(self, worker_id: str) -> int:
        """Give back what a worker holds that leaves of itself; returns how many messages that were."""
        return int(self._sweep(worker_id)[0][1])

    def _sweep(self, *worker: str) -> Any:
        keys = [self._queue.workers, self._queue.worker_facts, *self._queue.lanes]
        return run_script(self._redis, "sweep", keys, [HELD_KEY_PREFIX, WAKE, *worker])

    def _is_due(self, every_s: float) -> bool:
        return bool(self._redis.set(self._queue.swept, 1, nx=True, px=int(every_s * 1000)))

    def _server_is_new(self) -> bool:
        """Return whether others may not have found the server yet: it was started, or took over, only just now."""
        try:
            facts = self._redis.info("server")
        except redis.ResponseError as error:
            log.debug("the age of the server cannot be seen", action="info_refused", error=str(error))
            return False
        before, self._server = self._server, str(facts.get("run_id", ""))
        if before not in ("", self._server):
            self._quiet_until = time.monotonic() + GRACE_S
        return int(facts["uptime_in_seconds"]) < GRACE_S or time.monotonic() < self._quiet_until

    def _doubt_the_disconnected(self) -> None:
        """Shorten the lease of workers whose connection is closed; where that cannot be asked, leases run out."""
        connections = {}
        for worker, text in self._redis.hgetall(self._queue.worker_facts).items():
            connections[worker] = json.loads(text).get("connection")
        ids = [number for number in connections.values() if isinstance(number, int)]
        if not ids:
            return
        try:
            open_ = {int(entry["id"]) for entry in self._redis.client_list(client_id=ids)}
        except redis.ResponseError as error:
            log.debug("connections cannot be seen", action="client_list_refused", error=str(error))
            return
        if gone := [worker for worker, number in connections.items() if number not in open_]:
            run_script(self._redis, "doubt", [self._queue.workers], [int(DOUBT_S * 1000), *gone])
