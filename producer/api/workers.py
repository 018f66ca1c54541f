"""The queue and the workers as they were seen within the last second, and the model whose pictures are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from producer.api.connection import Connection
from producer.contract import DEFAULT_QUEUE, MODEL_KEY
from producer.queue import QueueStatus, parse_queue_status, queue_status

T = TypeVar("T")

FRESH_S = 1.0


class Remembered(Generic[T]):
    """What was read within the last second, or else what is read now, once for all who ask."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._reading: asyncio.Future[T] | None = None
        self._read_at = 0.0

    async def get(self) -> T:
        """Return it; errors are not remembered."""
        fresh = time.monotonic() - self._read_at < FRESH_S
        reading = self._reading
        if reading is None or (reading.done() and (not fresh or reading.cancelled() or reading.exception())):
            reading = self._reading = asyncio.ensure_future(self._read())
            reading.add_done_callback(self._note)
        return await asyncio.shield(reading)

    def _note(self, done: asyncio.Future[T]) -> None:
        self._read_at = time.monotonic()
        if not done.cancelled():
            done.exception()  # whoever waits has it


class Workers:
    """Looks at the queues; ``queue`` is the one whose model is meant where none is named."""

    def __init__(self, connection: Connection, queue: str = DEFAULT_QUEUE) -> None:
        self._connection = connection
        self.queue = queue
        self._status = Remembered(self._look)
        self._noted = ""

    async def status(self) -> QueueStatus:
        """Return the queue with the workers that live."""
        return await self._status.get()

    async def any(self) -> bool:
        """Whether a worker lives, of whatever queue."""
        return bool((await self.status()).workers)

    async def own(self) -> bool:
        """Whether a worker of the queue lives to which jobs go that name none."""
        return bool((await self.status()).workers_of(self.queue))

    async def model(self) -> str | None:
        """Return the model of the queue, also while no worker lives; ``None`` before any has.

        Where workers of several models may serve it, that of the newest, or of the last that did.
        """
        model = self._model_in(await self.status())
        if model is None:
            (model,) = await self._connection.texts([MODEL_KEY])
        return model

    async def _look(self) -> QueueStatus:
        status = parse_queue_status(await self._connection.run(queue_status()))
        model = self._model_in(status)
        if model is not None and model != self._noted:
            await self._connection.keep(MODEL_KEY, model)
            self._noted = model
        return status

    def _model_in(self, status: QueueStatus) -> str | None:
        figures = status.queues.get(self.queue)
        return (figures and figures.model_id) or newest_model(status.workers_of(self.queue))


def newest_model(workers: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the model of the worker that was started last."""
    newest = max(workers, key=lambda worker: str(worker.get("started_at", "")), default=None)
    return None if newest is None else str(newest["model_id"])
