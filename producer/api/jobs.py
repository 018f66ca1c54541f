"""Jobs as the API reads, awaits and pages through them; what it answers of them is in producer/api/documents.py."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from producer import records
from producer.api.access import Caller
from producer.api.changes import Change, Changes
from producer.api.connection import Connection
from producer.api.documents import SeenJob
from producer.api.waiting import Waiting
from producer.contract import JobStatus, chunk_task_id, result_key, seeds_key
from producer.errors import JobNotFound, SettingsError
from producer.job import JobRecord
from producer.message import SeedResult, decode_chunk_results
from producer.seeds import shorten, unpack

CURSOR = re.compile(r"([0-9]{1,6})\.([0-9]{1,4})")
SCAN_SEEDS = 16_384
"""Seeds whose results are read from Redis in one go, at most."""
SCAN_PAGES = 20
"""Pages of jobs that are looked through for those of a status, before what was found is answered."""
SCAN_JOBS = 2_000
"""Jobs on all of these pages, at most."""


class Viewer(Protocol):
    """Who asks; :class:`producer.api.access.Caller` is one."""

    @property
    def tenant(self) -> str:
        """Whose jobs are theirs."""

    @property
    def is_admin(self) -> bool:
        """Whether all jobs are."""

    def may_see(self, record: JobRecord) -> bool:
        """Whether a job is theirs to know of."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some results, and where to go on, ``None`` at the end."""

    results: list[SeedResult]
    next: str | None


class Jobs:
    """Reads jobs, those that the caller may see; of others it says that they do not exist."""

    def __init__(self, connection: Connection, changes: Changes, waiting: Waiting) -> None:
        self._connection = connection
        self._changes = changes
        self._waiting = waiting

    async def read(self, job_id: str, caller: Viewer) -> SeenJob:
        """Return a job as it is now.

        Raises:
            JobNotFound: there is none of that id, or it is another tenant's.
        """
        return _seen_by(caller, await self._read(job_id))

    async def wait(
        self, job_id: str, caller: Caller, seconds: float, request: Request, *, needed: bool = True
    ) -> SeenJob:
        """Return a job once it has ended, or as it is after so long, when the caller has gone, or the process ends.

        Raises:
            JobNotFound: there is none of that id, or it is another tenant's.
            RateLimited: too many wait; unless it is ``needed``, nobody waits then.
            Unauthorized: the caller's key is good no more.
        """
        if not seconds or not (needed or self._waiting.has_room(caller)):
            return await self.read(job_id, caller)
        self._waiting.check_room(caller)
        until = time.monotonic() + seconds
        with self._waiting.place(caller):
            async with listening(self._changes, job_id, request) as change:
                seen = await self.read(job_id, caller)
                while not (seen.record.status.is_terminal or self._changes.closing or change.gone):
                    left_s = until - time.monotonic()
                    if left_s <= 0:
                        break
                    await change.wait(left_s)
                    await self._waiting.check_stay(caller)
                    seen = await self._changes.share(job_id, "job", lambda: self._read(job_id))
        return seen

    async def page(
        self, caller: Viewer, status: JobStatus | None, after: str | None, limit: int
    ) -> tuple[list[SeenJob], str | None]:
        """Return jobs, newest first, and where to go on; of a status there may be fewer although more follow.

        Raises:
            SettingsError: ``after`` is none of a page.
        """
        tenant = None if caller.is_admin else caller.tenant
        found: list[JobRecord] = []
        left = SCAN_JOBS
        for _ in range(SCAN_PAGES):
            wanted = min(limit - len(found), left)
            left -= wanted
            call = records.list_jobs(tenant=tenant, after=after, limit=wanted)
            page = records.JobPage.parse(await self._connection.run(call))
            found += [one for one in page.records if caller.may_see(one) and status in (None, one.status)]
            after = page.next
            if after is None or len(found) >= limit or not left:
                break
        return await self._with_seeds(found), after

    async def results(self, record: JobRecord, after: str | None, limit: int) -> Page:
        """Return results of chunks that have ended, in the order of the seeds.

        Raises:
            SettingsError: ``after`` is none of a page.
            ResultsLost: the job has ended and Redis no longer has them.
        """
        chunk, skip = _cursor(after)
        size = -(-record.counts.total // record.chunks)
        most, step = max(1, SCAN_SEEDS // size), -(-(limit + 1) // size)
        found: list[SeedResult] = []
        while chunk < record.chunks:
            stop = min(record.chunks, chunk + min(step, most))
            texts = await self.chunk_texts(record, range(chunk, stop))
            record.check_results(texts)
            step *= 1 if any(texts) else 2  # far ahead there may be more that have ended
            for number, text in enumerate(texts, chunk):
                results = list(decode_chunk_results([text]))[skip if number == chunk else 0 :]
                first = skip if number == chunk else 0
                if results and len(found) == limit:
                    return Page(found, f"{number}.{first}")
                taken = results[: limit - len(found)]
                found += taken
                if len(taken) < len(results):
                    return Page(found, f"{number}.{first + len(taken)}")
            chunk, skip = stop, 0
        return Page(found, None)

    async def chunk_texts(self, record: JobRecord, chunks: Sequence[int]) -> list[str | None]:
        """Return the Celery results of these chunks, ``None`` for those that have none yet."""
        keys = [result_key(chunk_task_id(record.id, chunk, record.chunks)) for chunk in chunks]
        return await self._connection.texts(keys)

    async def _read(self, job_id: str) -> SeenJob:
        records.check_known(job_id)
        record = JobRecord.read(job_id, await self._connection.run(records.read_job(job_id)))
        (seen,) = await self._with_seeds([record])
        return seen

    async def _with_seeds(self, found: Sequence[JobRecord]) -> list[SeenJob]:
        """Add to jobs of a single seed which one that is, and its result, as far as Redis still knows."""
        single = [record.id for record in found if record.counts.total == 1]
        keys = [key(job_id) for job_id in single for key in (seeds_key, result_key)]
        texts = await self._connection.texts(keys)
        told = dict(zip(single, zip(texts[::2], texts[1::2], strict=True), strict=True))
        return [
            SeenJob(record, _only_seed(*told[record.id]), told[record.id][1]) if record.id in told else SeenJob(record)
            for record in found
        ]


def _seen_by(caller: Viewer, seen: SeenJob) -> SeenJob:
    if not caller.may_see(seen.record):
        raise JobNotFound(seen.record.id)
    return seen


def _only_seed(packed: str | None, result: str | None) -> int | None:
    if packed:
        return unpack(packed)[0]
    return next((one.seed for one in decode_chunk_results([result])), None)


def _cursor(after: str | None) -> tuple[int, int]:
    if after is None:
        return 0, 0
    found = CURSOR.fullmatch(after)
    if not found:
        raise SettingsError(f"after={shorten(after)}: give the 'next' of the page before")
    return int(found[1]), int(found[2])


class Listener(Change):
    """A waiter that also wakes when its caller has gone; ``gone`` says so."""

    def __init__(self, changes: Changes) -> None:
        super().__init__(changes)
        self.gone = False

    async def watch(self, request: Request) -> None:
        """Return when the caller has gone."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.notify()


@asynccontextmanager
async def listening(changes: Changes, job_id: str, request: Request) -> AsyncIterator[Listener]:
    """Hear, inside, of changes of a job and of the end of the caller's connection."""
    listener = Listener(changes)
    task = asyncio.create_task(listener.watch(request))
    try:
        with changes.watching(job_id, listener):
            yield listener
    finally:
        task.cancel()
