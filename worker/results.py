"""Outcomes on their way to Redis: this module alone writes job records and Celery results.

A chunk's result and its counts are stored in one step (producer/scripts/finish_chunk.lua), before the message is
acknowledged, and only once. Short outages of Redis are waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from producer import records
from producer.connection import translated
from producer.contract import ChunkMessage, SeedResult, chunk_result, encode_celery_result, revoked_result
from producer.records import Verdict

REASONS = {
    Verdict.CANCELED: "the job was canceled",
    Verdict.EXPIRED: "the job has expired",
    Verdict.UNKNOWN: "the job has no such chunk",
}


class Recorder:
    """Writes what became of chunks.

    Args:
        client: a connection that decodes replies; its own retries bound how long an outage is waited for.
        url: its URL, for messages.
        ttl_s: seconds that results live where the job's record does not say.
    """

    def __init__(self, client: redis.Redis, url: str, *, ttl_s: int) -> None:
        self._redis = client
        self._url = url
        self._ttl_s = ttl_s

    def start(self, message: ChunkMessage, *, adopt: bool) -> Verdict:
        """Note that a chunk was taken up; says whether to run it. ``adopt`` makes a record for a foreign message."""
        return Verdict(self._run(records.start_chunk(message, adopt=adopt, ttl_s=self._ttl_s)))

    def finish(self, message: ChunkMessage, results: Sequence[SeedResult]) -> dict[str, Any]:
        """Store the result of a chunk and count its seeds; returns the value that the Celery result carries."""
        value = chunk_result(message, results)
        text = encode_celery_result(message.task_id, "SUCCESS", value)
        self._run(records.finish_chunk(message, value["succeeded"], value["failed"], text, ttl_s=self._ttl_s))
        return value

    def drop(self, message: ChunkMessage, verdict: Verdict) -> None:
        """Store why a chunk was not run, as Celery does for a revoked task."""
        text = revoked_result(message.task_id, REASONS[verdict])
        self._run(records.drop_chunk(message, text, ttl_s=self._ttl_s))

    def give_back(self, message: ChunkMessage) -> None:
        """Note that a chunk goes back to the queue unfinished."""
        self._run(records.give_back(message))

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _run(self, call: records.Call) -> Any:
        with translated(self._url):
            return self._redis.register_script(call.script)(keys=call.keys, args=call.args)
