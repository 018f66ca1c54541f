"""The parts of one process of the API, put together, and the tasks that run beside its requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import structlog
from fastapi import Depends, Request

from producer import records
from producer.api.access import Access
from producer.api.admission import Admission
from producer.api.bucket import Bucket
from producer.api.changes import Changes
from producer.api.connection import Connection
from producer.api.documents import Documents
from producer.api.events import EventLog
from producer.api.files import Files
from producer.api.jobs import Jobs
from producer.api.memory import Memory
from producer.api.metrics import Metrics
from producer.api.pictures import Pictures
from producer.api.published import Published
from producer.api.readiness import check_parts
from producer.api.settings import ApiSettings
from producer.api.status import Status
from producer.api.waiting import Waiting
from producer.api.webhooks.admin import WebhookAdmin
from producer.api.webhooks.delivery import GRACE_S, WebhookSender
from producer.api.workers import Remembered, Workers
from producer.records import Backlog

END_S = 0.1

RESTART_S = 1.0
"""Seconds after which a task that failed is started again."""

log = structlog.get_logger(__name__)


class Services:
    """Everything that routes use; nothing is sent before :meth:`running`."""

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self.connection = Connection(settings.redis_url)
        self.access = Access(settings, self.connection.redis)
        self.changes = Changes(self.connection)
        self.metrics = Metrics(lambda: self.changes.waiting, lambda: self.admission.waiting())
        self.bucket = Bucket(settings)
        self.documents = Documents(settings.base)
        self.waiting = Waiting(settings.api_max_waiting, self.access)
        self.jobs = Jobs(self.connection, self.changes, self.waiting)
        self.pictures = Pictures(self.connection)
        self.files = Files()
        self.events = EventLog(self.connection, self.changes, self.jobs, self.documents)
        self.memory = Memory(self.connection.memory)
        self.workers = Workers(self.connection, settings.queue)
        self.published = Published(self.bucket, self.workers, self.pictures)
        self.admission = Admission(settings, self._backlog, self.workers.any)
        self.webhooks = WebhookAdmin(settings, self.connection.redis)
        self._sender = WebhookSender(settings, self.connection.redis)
        self.readiness = Remembered(lambda: check_parts(self.connection, self.bucket, self.workers))
        self.status = Status(self.readiness, self.workers, self.admission)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what runs beside requests; at the end nobody waits any longer."""
        await asyncio.to_thread(self.bucket.open)
        self.documents.signer = self.bucket.signer
        sending = asyncio.create_task(_kept_up(self._sender.run))
        beside = (self.changes.run, self.memory.run, self.admission.run, self.access.announce)
        tasks = [sending, *(asyncio.create_task(_kept_up(one)) for one in beside)]
        try:
            yield
        finally:
            self.begin_end()
            await asyncio.wait([sending], timeout=GRACE_S + END_S)
            await _end(tasks)
            self.bucket.close()
            await self.connection.close()

    def begin_end(self) -> None:
        """Let nobody wait any longer, and begin with nothing new beside requests."""
        self.changes.close()
        self._sender.close()

    async def _backlog(self, tenant: str) -> Backlog:
        return Backlog.parse(await self.connection.run(records.backlog(tenant)))


async def _kept_up(run: Callable[[], Awaitable[None]]) -> None:
    """Run a task to its end, again and again if it fails."""
    while True:
        try:
            return await run()
        except Exception:  # whatever it is, without this task the process would only seem to work
            name = getattr(run, "__qualname__", repr(run))
            log.critical("a task failed and is started again", action="task_failed", task=name, exc_info=True)
        await asyncio.sleep(RESTART_S)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: the Redis client lets a cancellation pass while it connects."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=END_S)


async def _of(request: Request) -> Services:  # a function that is not async would be run in a thread
    services: Services = request.app.state.services
    return services


Parts = Annotated[Services, Depends(_of)]
"""The services of the app that has the route."""
