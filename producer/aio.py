"""The asyncio client: the same names and the same behaviour as producer/client.py, with ``await``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from types import TracebackType
from typing import Any, Self

from producer import dead, records
from producer.client import Client
from producer.connection import connect_async, translated
from producer.contract import JobStatus, Priority
from producer.dead import DeadLetter
from producer.errors import JobConflict, JobFailed, JobNotFound
from producer.job import JobRecord, JobView
from producer.lua import Call
from producer.message import SeedResult, decode_chunk_results
from producer.pace import Pace
from producer.queue import QueueStatus, parse_queue_status, queue_status
from producer.reconcile import Reconciliation
from producer.seeds import Seeds
from producer.settings import ProducerSettings
from producer.submission import Submission
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
        async for seen in self._watch(timeout, place=True):
            yield seen

    async def _watch(self, timeout: float | None, *, place: bool) -> AsyncIterator[Self]:
        pace = Pace(time.monotonic(), timeout)
        while True:
            self._record = await self._client._read(self.id, place=place)
            yield self
            if self.status.is_terminal:
                return
            await asyncio.sleep(pace.delay(self, time.monotonic()))

    async def wait(self, timeout: float | None = None, *, check: bool = True) -> Self:
        """Return when the job has ended; see :meth:`producer.client.Job.wait`."""
        async for _ in self._watch(timeout, place=False):
            pass
        if check and self.status is not JobStatus.SUCCEEDED:
            raise JobFailed(self)
        return self

    def results(self) -> AsyncIterator[SeedResult]:
        """Yield the results that are there, in the order of the seeds: ``async for result in job.results()``."""
        return self._client._results(self._record)

    async def cancel(self) -> Self:
        """Cancel the job unless it has ended; see :meth:`producer.client.Job.cancel`."""
        await self._client._cancel(self.id)
        return await self.refresh()


class AsyncClient:
    """Enqueue seeds and follow jobs from asyncio; arguments and errors as of :class:`producer.client.Client`."""

    def __init__(
        self, redis_url: str | None = None, *, chunk_size: int | None = None, result_ttl_s: int | None = None
    ) -> None:
        self.settings = ProducerSettings.load(redis_url=redis_url, chunk_size=chunk_size, result_ttl_s=result_ttl_s)
        self._redis = connect_async(self.settings.redis_url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def submit(
        self, seeds: Seeds, *, job_id: str | None = None, priority: Priority | str | None = None, force: bool = False
    ) -> AsyncJob:
        """Enqueue one seed, a list or a range as one job; see :meth:`producer.client.Client.submit`."""
        submission = Submission.check(seeds, job_id, self.settings, priority, force=force)
        with submitting(submission) as trace:
            if await self._run(submission.call(trace)) < 0:
                raise JobConflict(submission.job_id)
            return await self.get(submission.job_id)

    async def get(self, job_id: str) -> AsyncJob:
        """Return the job of that id, or raise :class:`~producer.errors.JobNotFound`."""
        return AsyncJob(await self._read(job_id), self)

    async def wait(self, job_id: str, timeout: float | None = None, *, check: bool = True) -> AsyncJob:
        """Return when that job has ended; see :meth:`AsyncJob.wait`."""
        return await (await self.get(job_id)).wait(timeout, check=check)

    async def cancel(self, job_id: str) -> AsyncJob:
        """Cancel that job unless it has ended."""
        return await (await self.get(job_id)).cancel()

    async def queue(self) -> QueueStatus:
        """Return what waits, what workers hold, and the workers seen lately."""
        return parse_queue_status(await self._run(queue_status()))

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return the newest dead letters: chunks of which seeds failed, and messages that were no chunks."""
        return dead.parse_dead(await self._run(dead.list_dead(limit)))

    async def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return a dead letter, or raise :class:`~producer.errors.DeadLetterNotFound`."""
        return dead.only(dead.parse_dead(await self._run(dead.list_dead(1, letter_id))), letter_id)

    async def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again, as part of its job, which then runs again; returns the letter.

        Raises:
            DeadLetterNotFound: there is no such letter.
            ReplayRefused: its job has expired or was cancelled, or it was not kept whole.
        """
        letter = await self.dead_letter(letter_id)
        dead.check_replay(letter, await self._run(dead.replay_dead(letter)))
        return letter

    async def purge(self, letter_ids: Collection[str] | None = None) -> int:
        """Forget these dead letters, or with ``None`` all of them; returns how many are gone."""
        if letter_ids is not None and not letter_ids:
            return 0
        return int(await self._run(dead.purge_dead(letter_ids or ())))

    async def reconcile(self) -> Reconciliation:
        """Enqueue again what is in no list; see :meth:`producer.client.Client.reconcile`, which a thread runs."""

        def run() -> Reconciliation:
            with Client(self.settings.redis_url) as client:
                return client.reconcile()

        return await asyncio.to_thread(run)

    async def _run(self, call: Call) -> Any:
        with translated(self.settings.redis_url):
            return await self._redis.register_script(call.script)(keys=call.keys, args=call.args)

    async def _read(self, job_id: str, *, place: bool = True) -> JobRecord:
        records.check_known(job_id)
        return JobRecord.read(job_id, await self._run(records.read_job(job_id, place=place)))

    async def _cancel(self, job_id: str) -> None:
        if await self._run(records.cancel_job(job_id)) < 0:
            raise JobNotFound(job_id)

    async def _results(self, record: JobRecord) -> AsyncIterator[SeedResult]:
        for keys in record.result_key_pages():
            with translated(self.settings.redis_url):
                texts: Any = await self._redis.mget(keys)
            record.check_results(texts)
            for result in decode_chunk_results(texts):
                yield result
