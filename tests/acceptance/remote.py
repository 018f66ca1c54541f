"""A stock Celery app's view of workers: their answers to remote control, and their events."""

from __future__ import annotations

import socket
import threading
from typing import Any

from celery import Celery

from tests.torture.bench import Bench, wait_until
from tests.torture.stand_in import Plan
from worker.local.process import Process

TIMEOUT_S = 20.0


def name_of(worker: Process) -> str:
    return f"seedmill-{worker.pid}@{socket.gethostname()}"


def ask(app: Celery, worker: Process, command: str, **arguments: Any) -> Any:
    """Send a command to one worker; returns its answer."""
    options = {"arguments": arguments, "destination": [name_of(worker)], "reply": True, "timeout": TIMEOUT_S}
    (answer,) = app.control.broadcast(command, **options)
    return answer[name_of(worker)]


def start(bench: Bench, app: Celery, plan: Plan | None = None, **environment: Any) -> Process:
    """Start a worker; returns when it hears remote control."""
    worker = bench.worker(plan, **environment)
    wait_until(lambda: hears(app, worker), "its first answer")
    return worker


def hears(app: Celery, worker: Process) -> bool:
    """Return whether a worker answers; one that has just connected misses what was published before."""
    return bool(app.control.broadcast("ping", destination=[name_of(worker)], reply=True, timeout=0.5))


class Monitor:
    """What an EventReceiver of a stock app is told, gathered in a thread.

    It subscribes once: what is published between two subscriptions nobody hears.
    """

    def __init__(self, app: Celery) -> None:
        self.events: list[dict[str, Any]] = []
        self._app = app
        self._receiver: Any = None
        self._thread = threading.Thread(target=self._capture)

    def __enter__(self) -> Monitor:
        self._thread.start()
        wait_until(self._hears, "an event of its own")
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(TIMEOUT_S)

    def _capture(self) -> None:
        with self._app.connection() as connection:
            self._receiver = self._app.events.Receiver(connection, handlers={"*": self.events.append})
            self._receiver.capture(wakeup=False)

    def _hears(self) -> bool:
        with self._app.connection() as connection, self._app.events.Dispatcher(connection) as dispatcher:
            dispatcher.send("monitor-began")
        return bool(self.events)

    def of(self, task_id: str) -> list[str]:
        """Return the types of the events of a task, in order."""
        return [event["type"] for event in self.events if event.get("uuid") == task_id]

    def workers(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of that kind of all workers."""
        return [event for event in self.events if event["type"] == kind]
