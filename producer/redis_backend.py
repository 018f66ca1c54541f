"""The clients' way to Redis or Valkey directly: every call is a Lua script (producer/records.py), carried out here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import closing
from typing import Any, ClassVar

from producer import dead, records
from producer.connection import connect, connect_async, translated
from producer.dead import DeadLetter
from producer.errors import JobConflict, JobNotFound, QueueUnknown
from producer.job import JobRecord
from producer.lua import Call
from producer.message import SeedResult, decode_chunk_results
from producer.queue import QueueStatus, parse_queue_status, queue_status
from producer.reconcile import Reconciliation, reconcile
from producer.settings import ProducerSettings
from producer.submission import Submission


class RedisBackend:
    """A blocking connection to Redis; see :class:`producer.backend.Backend`."""

    holds: ClassVar[bool] = False

    def __init__(self, settings: ProducerSettings) -> None:
        self.redis = connect(settings.redis_url)
        self._url = settings.redis_url

    def run(self, call: Call) -> Any:
        """Carry out a call."""
        with translated(self._url):
            return self.redis.register_script(call.script)(keys=call.keys, args=call.args)

    def submit(self, submission: Submission, trace: str) -> JobRecord:
        """Enqueue a job."""
        _check_created(submission, self.run(submission.call(trace)))
        return self.read(submission.job_id)

    def read(
        self,
        job_id: str,
        *,
        place: bool = True,
        hold_s: int = 0,  # noqa: ARG002
        within_s: float | None = None,  # noqa: ARG002
    ) -> JobRecord:
        """Read a job; nothing is held back, and an outage is bridged as long as every command does."""
        records.check_known(job_id)
        return JobRecord.read(job_id, self.run(records.read_job(job_id, place=place)))

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job."""
        records.check_known(job_id)
        _check_canceled(job_id, self.run(records.cancel_job(job_id)))
        return self.read(job_id)

    def results(self, record: JobRecord) -> Iterator[SeedResult]:
        """Yield the results that are there."""
        for keys in record.result_key_pages():
            with translated(self._url):
                texts: Any = self.redis.mget(keys)
            record.check_results(texts)
            yield from decode_chunk_results(texts)

    def queue(self) -> QueueStatus:
        """Look at the queue."""
        return parse_queue_status(self.run(queue_status()))

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""
        return dead.parse_dead(self.run(dead.list_dead(limit)))

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return one dead letter."""
        return dead.only(dead.parse_dead(self.run(dead.list_dead(1, letter_id))), letter_id)

    def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again."""
        letter = self.dead_letter(letter_id)
        dead.check_replay(letter, self.run(dead.replay_dead(letter)))
        return letter

    def purge(self, letter_ids: Collection[str] | None) -> int:
        """Forget dead letters."""
        return int(self.run(dead.purge_dead(letter_ids or ())))

    def reconcile(self) -> Reconciliation:
        """Enqueue again what was lost."""
        with translated(self._url):
            return reconcile(self.redis)

    def close(self) -> None:
        """Close the connections."""
        self.redis.close()


class AsyncRedisBackend:
    """An asyncio connection to Redis; see :class:`producer.backend.AsyncBackend`."""

    holds: ClassVar[bool] = False

    def __init__(self, settings: ProducerSettings) -> None:
        self.redis = connect_async(settings.redis_url)
        self._settings = settings

    async def run(self, call: Call) -> Any:
        """Carry out a call."""
        with translated(self._settings.redis_url):
            return await self.redis.register_script(call.script)(keys=call.keys, args=call.args)

    async def submit(self, submission: Submission, trace: str) -> JobRecord:
        """Enqueue a job."""
        _check_created(submission, await self.run(submission.call(trace)))
        return await self.read(submission.job_id)

    async def read(
        self,
        job_id: str,
        *,
        place: bool = True,
        hold_s: int = 0,  # noqa: ARG002
        within_s: float | None = None,  # noqa: ARG002
    ) -> JobRecord:
        """Read a job; nothing is held back, and an outage is bridged as long as every command does."""
        records.check_known(job_id)
        return JobRecord.read(job_id, await self.run(records.read_job(job_id, place=place)))

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job."""
        records.check_known(job_id)
        _check_canceled(job_id, await self.run(records.cancel_job(job_id)))
        return await self.read(job_id)

    async def results(self, record: JobRecord) -> AsyncIterator[SeedResult]:
        """Yield the results that are there."""
        for keys in record.result_key_pages():
            with translated(self._settings.redis_url):
                texts: Any = await self.redis.mget(keys)
            record.check_results(texts)
            for result in decode_chunk_results(texts):
                yield result

    async def queue(self) -> QueueStatus:
        """Look at the queue."""
        return parse_queue_status(await self.run(queue_status()))

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""
        return dead.parse_dead(await self.run(dead.list_dead(limit)))

    async def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return one dead letter."""
        return dead.only(dead.parse_dead(await self.run(dead.list_dead(1, letter_id))), letter_id)

    async def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again."""
        letter = await self.dead_letter(letter_id)
        dead.check_replay(letter, await self.run(dead.replay_dead(letter)))
        return letter

    async def purge(self, letter_ids: Collection[str] | None) -> int:
        """Forget dead letters."""
        return int(await self.run(dead.purge_dead(letter_ids or ())))

    async def reconcile(self) -> Reconciliation:
        """Enqueue again what was lost, in a thread with a connection of its own."""

        def run() -> Reconciliation:
            with closing(RedisBackend(self._settings)) as backend:
                return backend.reconcile()

        return await asyncio.to_thread(run)

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()


def _check_created(submission: Submission, answer: int) -> None:
    if answer == records.QUEUE_UNKNOWN:
        raise QueueUnknown(submission.queue)
    if answer < 0:
        raise JobConflict(submission.job_id)


def _check_canceled(job_id: str, answer: int) -> None:
    if answer < 0:
        raise JobNotFound(job_id)
