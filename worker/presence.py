"""The worker's heartbeat in Redis: a description that ``seedmill queue`` shows while the worker lives."""

from __future__ import annotations

import json
import os
import socket
import threading

import redis
import structlog

from producer import records
from producer.contract import HEARTBEAT_INTERVAL_S, WORKERS_KEY
from worker.model.engine import ModelInfo

log = structlog.get_logger(__name__)


class Presence:
    """Says every few seconds that this worker lives, until it is closed; an outage of Redis is ridden out."""

    def __init__(self, client: redis.Redis, model: ModelInfo, device: str) -> None:
        self._redis = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        host, pid = socket.gethostname(), os.getpid()
        facts = {"host": host, "pid": pid, "device": device, "model_id": model.id, "trained": model.trained}
        self.description = json.dumps(facts, sort_keys=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and take the description away."""
        self._stop.set()
        if not self._thread.is_alive():
            return
        self._thread.join()
        try:
            self._redis.zrem(WORKERS_KEY, self.description)
        except redis.RedisError as error:
            log.warning("heartbeat not withdrawn", action="heartbeat_failed", error=str(error))

    def _beat(self) -> None:
        call = records.heartbeat(self.description)
        while True:
            try:
                self._redis.register_script(call.script)(keys=call.keys, args=call.args)
            except redis.RedisError as error:
                log.warning("heartbeat missed", action="heartbeat_failed", error=str(error))
            if self._stop.wait(HEARTBEAT_INTERVAL_S):
                return
