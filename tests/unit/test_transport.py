"""What the transport relies on of kombu and Celery is what it was tried with."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import celery
import kombu
import pytest
from celery.app.task import get_actual_ignore_result
from celery.concurrency import base, thread
from celery.events.dispatcher import EventDispatcher
from celery.worker import control, request, strategy
from celery.worker.consumer.consumer import Consumer
from celery.worker.consumer.events import Events
from kombu.pidbox import Node

from producer.contract import QUEUE
from producer.message import ChunkMessage
from producer.queue_keys import queue_keys
from worker.queue.burial import Burial
from worker.queue.ledger import Taken
from worker.queue.pool import TaskPool
from worker.queue.transport import PRIVATE, Channel

PINS = Path(__file__).with_name("private_names.json")
"""SHA-256 of the source of everything private that is relied upon; to be renewed with care: see the test."""

CELERY: dict[Any, tuple[str, ...]] = {
    thread.TaskPool: ("on_apply", "on_stop", "_get_info"),
    request.Request: (
        *("__init__", "execute_using_pool", "on_success", "on_failure", "reject", "acknowledge"),
        *("revoked", "send_event"),
    ),
    control.Panel: ("register", "_register"),
    Consumer: ("add_task_queue", "cancel_task_queue", "on_send_event_buffered"),
    Events: ("start", "_close", "shutdown"),
    EventDispatcher: ("send", "flush"),
    Node: ("dispatch",),
}
FUNCTIONS = (base.apply_target, get_actual_ignore_result, request.create_request_cls, strategy.default)


def sources() -> dict[str, str]:
    found = {
        f"{kind.__module__}.{kind.__qualname__}.{name}": inspect.getsource(inspect.getattr_static(kind, name))
        for kind, names in {**PRIVATE, **CELERY}.items()
        for name in names
    }
    found |= {f"{function.__module__}.{function.__name__}": inspect.getsource(function) for function in FUNCTIONS}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in found.items()}


def test_what_is_private_to_kombu_and_celery_has_not_changed() -> None:
    """If this fails after a new version: read what has changed in them, run make torture, then renew the pins.

    ``python -m tests.unit.test_transport`` renews them.
    """
    pinned = json.loads(PINS.read_text())
    assert {"kombu": kombu.__version__, "celery": celery.__version__} == pinned["versions"]
    changed = [name for name, digest in sources().items() if pinned["sources"].get(name) != digest]
    assert changed == []


class FakeRequest:
    """A request as the pool sees it."""

    acknowledged = False

    def __init__(self) -> None:
        self.rejected: list[bool] = []

    def on_success(self, value: object) -> None:
        pass

    def reject(self, requeue: bool) -> None:
        self.rejected.append(requeue)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("worker.queue.pool.PAUSE_S", 0)
    monkeypatch.setattr("worker.queue.pool.task_ready", lambda request: None)
    pool = TaskPool(limit=2)
    yield pool
    pool.on_stop()


@pytest.mark.parametrize("error", [RuntimeError("bug"), MemoryError(), SystemExit(1), KeyboardInterrupt()])
def test_whatever_escapes_a_task_gives_its_message_back_and_leaks_no_place(pool: Any, error: BaseException) -> None:
    def escape() -> None:
        raise error

    requests = [FakeRequest() for _ in range(6)]
    results = [pool.on_apply(escape, (), {}, request.on_success) for request in requests]
    assert [result.get(5) for result in results] == [None] * 6
    if isinstance(error, (SystemExit, KeyboardInterrupt)):  # Celery turns these into a lost worker, which is recorded
        return
    assert [request.rejected for request in requests] == [[True]] * 6


def test_a_message_that_was_settled_is_not_given_back(pool: Any) -> None:
    def escape() -> None:
        raise RuntimeError("after the end")

    request = FakeRequest()
    request.acknowledged = True
    pool.on_apply(escape, (), {}, request.on_success).get(5)
    assert request.rejected == []


def test_a_thread_cannot_be_ended_and_asking_for_it_is_no_error(pool: Any) -> None:
    pool.terminate_job(1, "TERM")


class FakeLedger:
    """Remembers what became of messages."""

    queue = queue_keys()

    def __init__(self) -> None:
        self.back: list[str] = []
        self.buried: list[str] = []
        self.weights: dict[str, int] = {}

    def weigh(self, tag: str, seeds: int) -> None:
        self.weights[tag] = seeds

    def give_back(self, tag: str) -> None:
        self.back.append(tag)

    def bury(self, burials: Sequence[Burial]) -> None:
        self.buried += [burial.tag for burial in burials]


@pytest.mark.parametrize("error", [ConnectionError("reset"), SystemExit(1)])
def test_of_a_take_that_breaks_off_every_message_goes_somewhere(error: BaseException) -> None:
    delivered: list[str] = []

    def deliver(message: dict[str, Any], queue: str) -> None:
        if len(delivered) == 1:
            raise error
        delivered.append(message["headers"]["id"])

    ledger: Any = FakeLedger()
    channel = SimpleNamespace(
        connection=SimpleNamespace(_deliver=deliver), connection_errors=(ConnectionError,), ledger=ledger
    )
    texts = ["none", *(ChunkMessage(f"t{n}", f"t{n}", 0, (n,)).encode() for n in range(4))]
    taken = [Taken(f"1.{n}", QUEUE, len(text), text.encode()) for n, text in enumerate(texts)]
    with pytest.raises(type(error)):
        Channel._deliver_each(cast(Channel, channel), taken)
    assert (ledger.buried, delivered, ledger.back) == (["1.0"], ["t0"], ["1.2", "1.3", "1.4"])


def test_what_was_taken_for_one_seed_is_weighed_once_it_is_open() -> None:
    ledger: Any = FakeLedger()
    connection = SimpleNamespace(_deliver=lambda message, queue: None)
    channel = SimpleNamespace(connection=connection, connection_errors=(), ledger=ledger)
    text = ChunkMessage("t", "t", 0, (7, 8, 9)).encode().encode()
    taken = [Taken("1.0", QUEUE, len(text), text), Taken("1.1", QUEUE, len(text), text, seeds=3)]
    Channel._deliver_each(cast(Channel, channel), taken)
    assert ledger.weights == {"1.0": 3}


if __name__ == "__main__":
    versions = {"kombu": kombu.__version__, "celery": celery.__version__}
    PINS.write_text(json.dumps({"versions": versions, "sources": sources()}, indent=2) + "\n")
