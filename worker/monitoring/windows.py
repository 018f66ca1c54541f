"""What those outside see of a worker, from its start to its end: the heartbeat's file, and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from wsgiref.simple_server import WSGIServer

import structlog

from producer import __version__
from producer.client import Client
from worker import duties
from worker.model.generated import ModelInfo
from worker.monitoring import metrics
from worker.monitoring.heartbeat import Heartbeat, State
from worker.queue.ledger import Ledger
from worker.routine import Routine
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)


class Visible(Protocol):
    """What the metrics tell of a model; :class:`worker.model.engine.Engine` is one."""

    info: ModelInfo
    device: Any

    def memory_used(self) -> int:
        """Return the bytes of its device's memory that are in use."""
        ...

    def memory_limit(self) -> int:
        """Return the bytes that there are."""
        ...


class Windows:
    """Heartbeat and metrics of one worker, as its settings want them."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.heartbeat = Heartbeat(settings.heartbeat_file)
        self._beating = duties.heartbeat_file(self.heartbeat)
        self._server: WSGIServer | None = None

    def open(self) -> None:
        """Let others look in: the worker starts.

        Raises:
            FileError, SetupError: the file cannot be written, or the port cannot be listened on.
        """
        self.heartbeat.begin(State.STARTING)
        self._beating.start()
        host, port = self._settings.metrics_host, self._settings.metrics_port
        if port:
            self._server = metrics.serve(host, port)
            log.info("metrics served", action="metrics_served", host=host, port=port)

    def show(self, model: Visible, ledger: Ledger, waiting: Callable[[], int], client: Client) -> list[Routine]:
        """Have the metrics tell what is so whenever they are read; returns what has to be done for that."""
        if self._server is None:
            return []
        metrics.INFO.labels(__version__, model.info.id, str(model.device), self._settings.precision).set(1)
        metrics.HELD_MESSAGES.set_function(lambda: ledger.held)
        metrics.HELD_SEEDS.set_function(lambda: ledger.held_seeds)
        metrics.LINE_SEEDS.set_function(waiting)
        metrics.show_device_memory(model.memory_used, model.memory_limit)
        return [duties.queue_metrics(client)]

    def serving(self) -> None:
        """Say that messages are taken."""
        self.heartbeat.begin(State.SERVING)
        metrics.READY.set(1)

    def stopping(self) -> None:
        """Say that no more are taken; called from a signal handler."""
        self.heartbeat.state = State.STOPPING
        metrics.READY.set(0)

    def close(self) -> None:
        """Say no more: the worker ends."""
        self._beating.close()
        self.heartbeat.end()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
