"""Workers of queues and models, done by hand on a real Valkey."""

from __future__ import annotations

from typing import Any

from producer import Client, attempts
from producer.attempts import Ending, Start, Verdict
from producer.connection import connect
from producer.contract import (
    DEFAULT_QUEUE,
    LANES,
    Priority,
)
from producer.dead import DeadLetter
from producer.message import ChunkMessage, encode_celery_result
from producer.queue_keys import queue_keys
from tests.integration.conftest import message_in
from worker.chunk import ChunkRunner
from worker.local.stack import Endpoints
from worker.queue.gate import Gate
from worker.queue.ledger import Ledger, Taken
from worker.results import Delivery, Recorder
from worker.running import Running

OLD, NEW = "old-0123456789abcdef", "new-0123456789abcdef"
V2 = queue_keys("v2")
BULK = LANES.index(Priority.BULK.lane)


class Workers:
    """Ledgers of workers by queue and model, and what they do with a message, by hand."""

    def __init__(self, quiet: Endpoints) -> None:
        self.url = quiet.redis_url
        self.client = Client(quiet.redis_url, chunk_size=2)
        self.redis: Any = self.client._redis
        self.ledgers: list[Ledger] = []

    def open(self, model: str, queue: str = DEFAULT_QUEUE, *, lease_s: float = 60) -> Ledger:
        """Return the ledger of a worker that has the queue for its model."""
        connection = connect(self.url, decode=False, retries=0)
        ledger = Ledger(connection, limit=1, seeds=10**6, result_ttl_s=60, queue=queue, lease_s=lease_s)
        self.ledgers.append(ledger)
        ledger.claim(model)
        ledger.beat({"model_id": model})
        return ledger

    def begin(self, ledger: Ledger, taken: Taken, model: str) -> tuple[ChunkMessage, Start]:
        message = message_in(taken.text)
        call = attempts.start_chunk(
            message,
            held=ledger.key,
            tag=taken.tag,
            adopt=False,
            alone=True,
            ttl_s=60,
            model_id=model,
            queue=ledger.queue.name,
        )
        return message, Start.parse(self.client._run(call))

    def finish(self, ledger: Ledger, taken: Taken, model: str, *, failed: int = 0) -> None:
        message, start = self.begin(ledger, taken, model)
        assert start.verdict is Verdict.RUN
        text = encode_celery_result(message.task_id, "SUCCESS", {})
        letter = ""
        if failed:
            lane, queue = ledger.queue.lane(message.priority), ledger.queue.name
            ids: dict[str, Any] = {"job_id": message.job_id, "chunk": message.chunk, "seeds": message.seeds}
            letter = DeadLetter(message.task_id, "now", "bad", lane, queue=queue, **ids).encode()
        ending = Ending(len(message.seeds) - failed, failed, text, letter, model)
        assert self.client._run(attempts.finish_chunk(message, ending, held=ledger.key, tag=taken.tag, ttl_s=60)) == 1
        ledger.settled(taken.tag)

    def half(self, queue: str = DEFAULT_QUEUE) -> Ledger:
        """Return the ledger of a worker of the old model that has done one of the two chunks of a job, ``half``."""
        ledger = self.open(OLD, queue)
        self.client.submit(range(4), job_id="half", queue=queue)
        (taken,) = ledger.take()
        self.finish(ledger, taken, OLD)
        return ledger

    def run(self, ledger: Ledger, taken: Taken, model: str) -> dict[str, Any] | None:
        """Do with a message what a worker does that must not get so far as to compute anything."""
        recorder = Recorder(self.redis, self.url, ttl_s=60, held=ledger.key, model_id=model, queue=ledger.queue.name)
        mill: Any = None
        return ChunkRunner(mill, recorder, Gate(), Running()).run(Delivery(message_in(taken.text), taken.tag))

    def known(self, queue: str = "v2", model: str = NEW) -> None:
        """Let a worker have served a queue once."""
        self.open(model, queue).leave()

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        self.client.close()
