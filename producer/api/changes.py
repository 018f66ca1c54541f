"""Who waits for a job hears when it changes: one Redis subscription for all of a process.

Messages may be missed (the connection was away), so nobody waits for one longer than :data:`POLL_S`. Reads that many
do at once, because one change has woken them all, are done once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import structlog

from producer.api.connection import Connection
from producer.connection import translated
from producer.contract import CHANGES_CHANNEL
from producer.errors import QueueError

log = structlog.get_logger(__name__)

T = TypeVar("T")

POLL_S = 5.0
"""Longest wait for a message while the subscription stands."""

BLIND_POLL_S = 1.0
"""The same while it does not."""

RETRY_S = 1.0
"""Seconds between attempts to subscribe."""


class Change:
    """What one waiter waits on; changes that come while it does something else are not missed."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake the waiter."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when the job has changed, may have, or ``timeout_s`` have passed."""
        longest = POLL_S if self._changes.listening else BLIND_POLL_S
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), max(0.0, min(timeout_s, longest)))
        self._event.clear()


class Changes:
    """The waiters of a process, by job."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiters: dict[str, set[Change]] = {}
        self._reads: dict[str, dict[object, asyncio.Task[Any]]] = {}
        self.listening = False
        """Whether the subscription stands."""
        self.closing = False
        """Whether the process is about to end, and nobody should wait any longer."""

    @property
    def waiting(self) -> int:
        """Number of waiters."""
        return sum(map(len, self._waiters.values()))

    async def run(self) -> None:
        """Listen until cancelled; a Redis that is away is asked again and again."""
        while True:
            try:
                with translated(self._connection.url):
                    await self._listen()
            except QueueError as error:
                if self.listening:
                    log.warning("changes of jobs are not heard of", action="changes_lost", error=str(error))
                self.listening = False
            await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.closing = True
        self._wake_all()

    @contextmanager
    def watching(self, job_id: str, change: Change) -> Iterator[None]:
        """Notify ``change`` of changes of a job, inside; read it inside too, so that none falls between."""
        waiters = self._waiters.setdefault(job_id, set())
        waiters.add(change)
        try:
            yield
        finally:
            waiters.discard(change)
            if not waiters and self._waiters.get(job_id) is waiters:
                del self._waiters[job_id]

    async def share(self, job_id: str, name: object, read: Callable[[], Awaitable[T]]) -> T:
        """Return what ``read`` returns; reads of one name that were begun since the job last changed are one."""
        reads = self._reads.setdefault(job_id, {})
        task: asyncio.Task[T] | None = reads.get(name)
        if task is None:
            task = reads[name] = asyncio.ensure_future(read())
            task.add_done_callback(lambda done: self._forget(job_id, name, done))
        return await asyncio.shield(task)

    def _forget(self, job_id: str, name: object, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # those who wait have it; if all of them have gone, nobody misses it
        reads = self._reads.get(job_id, {})
        if reads.get(name) is task:
            del reads[name]
        if not reads:
            self._reads.pop(job_id, None)

    async def _listen(self) -> None:
        async with self._connection.listener() as listener:
            await listener.subscribe(CHANGES_CHANNEL)
            self.listening = True
            self._wake_all()
            while True:
                message = await listener.get_message(timeout=POLL_S)
                if message:
                    self._wake(str(message["data"]))

    def _wake(self, job_id: str) -> None:
        self._reads.pop(job_id, None)  # what was begun before the change may not have seen it
        for change in self._waiters.get(job_id, ()):
            change.notify()

    def _wake_all(self) -> None:
        for job_id in list(self._waiters):
            self._wake(job_id)
