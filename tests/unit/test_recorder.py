"""The recorder waits for Redis with the result in hand, and gives up only when the worker leaves."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from producer.contract import SeedStatus
from producer.errors import QueueRefused, QueueUnreachable
from producer.message import ChunkMessage, SeedResult
from worker import results
from worker.errors import GivenBack
from worker.monitoring import metrics
from worker.results import Delivery, Recorder
from worker.routine import Routine

DELIVERY = Delivery(ChunkMessage("t", "j", 0, (7, 8)), "1.0")
GOOD = [SeedResult(seed, SeedStatus.SUCCEEDED) for seed in (7, 8)]


class FakeRedis:
    """Raises each of the given errors once, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[Any] = []
        self.answer = 1
        self.connection_pool = SimpleNamespace(disconnect=lambda inuse_connections: None)

    def register_script(self, script: str) -> Any:
        def run(keys: Any, args: Any) -> int:
            if self.errors:
                raise self.errors.pop(0)
            self.calls.append((keys, args))
            return self.answer

        return run


def recorder(*errors: Exception) -> tuple[Recorder, FakeRedis]:
    fake = FakeRedis(*errors)
    client: Any = fake
    return Recorder(client, "redis://h", ttl_s=60, held="held"), fake


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RETRY_FIRST_S", 0.001)


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("away"),
        redis.TimeoutError("slow"),
        redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'"),
        redis.ResponseError("MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist"),
        redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis.ResponseError("BUSY Redis is busy running a script."),
    ],
)
def test_an_outage_and_a_redis_that_takes_no_writes_are_waited_for(error: Exception) -> None:
    waiting, fake = recorder(error, error, error)
    assert waiting.finish(DELIVERY, GOOD, 1)["succeeded"] == 2
    assert len(fake.calls) == 1


@pytest.mark.parametrize("text", ["WRONGTYPE Operation against a key", "NOPERM this user BUSY MISCONFigured"])
def test_a_refusal_is_not_waited_for(text: str) -> None:
    waiting, _ = recorder(redis.ResponseError(text))
    with pytest.raises(QueueRefused):
        waiting.finish(DELIVERY, GOOD, 1)


def test_a_worker_that_leaves_waits_no_more() -> None:
    waiting, _ = recorder(*[redis.ConnectionError("away")] * 1000)
    waiting.stop_waiting()
    with pytest.raises(QueueUnreachable):
        waiting.finish(DELIVERY, GOOD, 1)


def test_a_result_and_its_acknowledgement_travel_together() -> None:
    waiting, fake = recorder()
    waiting.finish(DELIVERY, GOOD, 1)
    ((keys, args),) = fake.calls
    assert "held" in keys
    assert "1.0" in args


def test_failures_of_a_chunk_that_was_given_back_meanwhile_are_tried_again() -> None:
    waiting, fake = recorder()
    fake.answer = -1
    with pytest.raises(GivenBack):
        waiting.finish(DELIVERY, GOOD, 1)


def test_a_letter_names_every_seed_that_failed() -> None:
    waiting, fake = recorder()
    waiting.finish(DELIVERY, [GOOD[0], SeedResult.failure(8, ValueError("bad"))], 2)
    ((_, args),) = fake.calls
    letter = next(text for text in args if isinstance(text, str) and '"failures"' in text and '"attempts"' in text)
    assert '{"seed":8,"type":"ValueError","message":"bad"}' in letter
    assert '"attempts":2' in letter


def test_a_routine_goes_on_after_errors_and_ends_when_it_is_closed() -> None:
    calls = threading.Semaphore(0)

    def fail() -> None:
        calls.release()
        raise RuntimeError("an outage")

    routine = Routine("test", 0.001, fail)
    routine.start()
    for _ in range(3):
        assert calls.acquire(timeout=5)
    routine.close()
    assert not routine._thread.is_alive()


@pytest.mark.parametrize(("answer", "counted"), [(1, 2), (0, 0)])
def test_the_metrics_count_what_the_record_counted(answer: int, counted: int) -> None:
    def seeds() -> float:
        return metrics.REGISTRY.get_sample_value("seedmill_seeds_total", {"outcome": "succeeded"}) or 0

    recording, fake = recorder()
    fake.answer = answer
    before = seeds()
    recording.finish(DELIVERY, GOOD, 1)
    assert seeds() - before == counted
