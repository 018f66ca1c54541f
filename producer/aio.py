"""The asyncio client: the same names and the same behaviour as producer/client.py, with ``await``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from types import TracebackType
from typing import Any, Self

import redis.asyncio

from producer.backend import AsyncBackend, Target
from producer.contract import JobStatus, Priority
from producer.dead import DeadLetter
from producer.errors import JobFailed, QueueUnreachable, RateLimited
from producer.job import JobRecord, JobView
from producer.lua import Call
from producer.message import SeedResult
from producer.pace import HOLD_WAIT_S, HOLD_WATCH_S, Pace
from producer.queue import QueueStatus
from producer.reconcile import Reconciliation
from producer.redis_backend import AsyncRedisBackend
from producer.seeds import Seeds
from producer.settings import HttpSettings
from producer.submission import Submission, check_extras
from producer.tracing import submitting


class AsyncJob(JobView):
    """A job on the queue; see :class:`producer.client.Job`."""

    def __init__(self, record: JobRecord, client: AsyncClient) -> None:
        super().__init__(record)
        self._client = client

    async def refresh(self) -> Self:
        """Read the record again; see :meth:`producer.client.Job.refresh`."""
        self._record = await self._client._read(self.id)
        return self

    async def watch(self, timeout: float | None = None) -> AsyncIterator[Self]:
        """Yield the job after each poll until it has ended; see :meth:`producer.client.Job.watch`."""
        async for seen in self._watch(self._client._pace(timeout, HOLD_WATCH_S), place=True):
            yield seen

    async def _watch(self, pace: Pace, *, place: bool) -> AsyncIterator[Self]:
        while True:
            await self._poll(pace, place=place)
            yield self
            if self.status.is_terminal:
                return
            await asyncio.sleep(pace.delay(self, time.monotonic()))

    async def _poll(self, pace: Pace, *, place: bool) -> None:
        backend, now = self._client._backend, time.monotonic()
        try:
            self._record = await backend.read(self.id, place=place, hold_s=pace.hold(now), within_s=pace.left(now))
        except (QueueUnreachable, RateLimited):
            if backend.holds:
                pace.check(self, time.monotonic())
            raise

    async def wait(self, timeout: float | None = None, *, check: bool = True) -> Self:
        """Return when the job has ended; see :meth:`producer.client.Job.wait`."""
        return await self._wait(self._client._pace(timeout, HOLD_WAIT_S), check=check)

    async def _wait(self, pace: Pace, *, check: bool) -> Self:
        async for _ in self._watch(pace, place=False):
            pass
        if check and self.status is not JobStatus.SUCCEEDED:
            raise JobFailed(self)
        return self

    def results(self) -> AsyncIterator[SeedResult]:
        """Yield the results that are there, in the order of the seeds: ``async for result in job.results()``."""
        return self._client._backend.results(self._record)

    async def cancel(self) -> Self:
        """Cancel the job unless it has ended; see :meth:`producer.client.Job.cancel`."""
        self._record = await self._client._backend.cancel(self.id)
        return self


class AsyncClient:
    """Enqueue seeds and follow jobs from asyncio; arguments and errors as of :class:`producer.client.Client`."""

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        chunk_size: int | None = None,
        result_ttl_s: int | None = None,
        queue: str | None = None,
    ) -> None:
        target = Target.choose(redis_url, url, api_key, chunk_size=chunk_size, result_ttl_s=result_ttl_s, queue=queue)
        self.settings = target.settings
        self.api = target.api
        self._backend: AsyncBackend = _open_http(target.api) if target.api else AsyncRedisBackend(target.settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._backend.close()

    async def submit(
        self,
        seeds: Seeds,
        *,
        job_id: str | None = None,
        priority: Priority | str | None = None,
        queue: str | None = None,
        force: bool = False,
        metadata: Mapping[str, Any] | None = None,
        webhook: str | None = None,
    ) -> AsyncJob:
        """Enqueue one seed, a list or a range as one job; see :meth:`producer.client.Client.submit`."""
        extras = check_extras(metadata, webhook)
        submission = Submission.check(seeds, job_id, self.settings, priority, queue=queue, force=force, extras=extras)
        with submitting(submission) as trace:
            return AsyncJob(await self._backend.submit(submission, trace), self)

    async def get(self, job_id: str) -> AsyncJob:
        """Return the job of that id, or raise :class:`~producer.errors.JobNotFound`."""
        return AsyncJob(await self._read(job_id), self)

    async def wait(self, job_id: str, timeout: float | None = None, *, check: bool = True) -> AsyncJob:
        """Return when that job has ended; see :meth:`AsyncJob.wait`."""
        pace = self._pace(timeout, HOLD_WAIT_S)
        record = await self._backend.read(job_id, within_s=pace.left(time.monotonic()))
        return await AsyncJob(record, self)._wait(pace, check=check)

    async def cancel(self, job_id: str) -> AsyncJob:
        """Cancel that job unless it has ended."""
        return AsyncJob(await self._backend.cancel(job_id), self)

    async def queue(self) -> QueueStatus:
        """Return what waits, what workers hold, and the workers seen lately."""
        return await self._backend.queue()

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return the newest dead letters: chunks of which seeds failed, and messages that were no chunks."""
        return await self._backend.dead_letters(limit)

    async def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return a dead letter, or raise :class:`~producer.errors.DeadLetterNotFound`."""
        return await self._backend.dead_letter(letter_id)

    async def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again, as part of its job, which then runs again; returns the letter.

        Raises:
            DeadLetterNotFound: there is no such letter.
            ReplayRefused: its job has expired or was cancelled, or it was not kept whole.
        """
        return await self._backend.replay(letter_id)

    async def purge(self, letter_ids: Collection[str] | None = None) -> int:
        """Forget these dead letters, or with ``None`` all of them; returns how many are gone."""
        if letter_ids is not None and not letter_ids:
            return 0
        return await self._backend.purge(letter_ids)

    async def reconcile(self) -> Reconciliation:
        """Enqueue again what is in no list; see :meth:`producer.client.Client.reconcile`."""
        return await self._backend.reconcile()

    async def _read(self, job_id: str, *, place: bool = True) -> JobRecord:
        return await self._backend.read(job_id, place=place)

    def _pace(self, timeout: float | None, hold_s: int) -> Pace:
        return Pace(time.monotonic(), timeout, hold_s=hold_s if self._backend.holds else 0)

    @property
    def _redis(self) -> redis.asyncio.Redis:
        return self._over_redis().redis

    async def _run(self, call: Call) -> Any:
        return await self._over_redis().run(call)

    def _over_redis(self) -> AsyncRedisBackend:
        """Return what carries out calls that only Redis itself knows."""
        if not isinstance(self._backend, AsyncRedisBackend):
            raise TypeError("only a client of Redis itself can do that: AsyncClient(redis_url)")
        return self._backend


def _open_http(settings: HttpSettings) -> AsyncBackend:
    """Return what speaks to the API: an optional extra, so that its libraries are loaded here alone."""
    from producer.http_backend import AsyncHttpBackend

    return AsyncHttpBackend(settings)
