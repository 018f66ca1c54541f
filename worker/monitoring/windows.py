"""What those outside see of a worker, from its start to its end: the heartbeat's file, and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol
from wsgiref.simple_server import WSGIServer

import redis
import structlog

from producer import __version__
from worker import duties
from worker.errors import FileError, SetupError
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
        self._watching: Routine | None = None

    def open(self) -> None:
        """Let others look in: the worker starts.

        Raises:
            SetupError: the file cannot be written, or the port cannot be listened on.
        """
        try:
            self.heartbeat.begin(State.STARTING)
        except FileError as error:
            raise SetupError(f"the heartbeat (SEEDMILL_HEARTBEAT_FILE): {error}") from error
        self._beating.start()
        host, port = self._settings.metrics_host, self._settings.metrics_port
        if port:
            self._server = metrics.serve(host, port)
            log.info("metrics served", action="metrics_served", host=host, port=port)

    def show(self, model: Visible, ledger: Ledger, waiting: Callable[[], int], takes: Callable[[], bool]) -> None:
        """Have the metrics tell what is so whenever they are read."""
        metrics.READY.set_function(lambda: self.heartbeat.state is State.SERVING and takes())
        metrics.INFO.labels(__version__, model.info.id, str(model.device), self._settings.precision).set(1)
        metrics.HELD_MESSAGES.set_function(lambda: ledger.held)
        metrics.HELD_SEEDS.set_function(lambda: ledger.held_seeds)
        metrics.LINE_SEEDS.set_function(waiting)
        metrics.show_device_memory(model.memory_used, model.memory_limit)

    def serving(self) -> None:
        """Say that messages are taken."""
        if self.heartbeat.state is State.STARTING:  # else a signal came first
            with suppress(FileError):  # the routine tries again
                self.heartbeat.begin(State.SERVING)

    def stopping(self) -> None:
        """Say that no more are taken; called from a signal handler, so that no lock may be taken."""
        self.heartbeat.state = State.STOPPING

    def watch(self, client: redis.Redis) -> None:
        """Have the metrics tell of the queue from now on."""
        if self._server:
            self._watching = duties.queue_metrics(client)
            self._watching.start()

    def close(self) -> None:
        """Say no more: the worker ends."""
        if self._watching:
            self._watching.close()
        self._beating.close()
        self.heartbeat.end()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
