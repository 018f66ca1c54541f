"""The stream of a job's events, as server-sent events that can be gone on with after any of them.

Ids are places in the job's log in Redis: ``<entry>`` for a status, ``<entry>.<index>`` for the result of a seed of the
chunk that ended there. What one reader is told, others at the same place are told too, so it is made once for all.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fastapi.sse import format_sse_event

from producer import records
from producer.api.changes import BLIND_POLL_S, Change, Changes
from producer.api.connection import Connection
from producer.api.documents import Documents, SeenJob
from producer.api.jobs import Jobs
from producer.api.problem import ProblemError
from producer.contract import JobStatus
from producer.errors import JobNotFound, QueueError
from producer.job import Counts, JobRecord
from producer.message import decode_chunk_results
from producer.records import Entry
from producer.seeds import shorten

KEEP_ALIVE_S = 15.0
PROGRESS_S = 0.5
"""Least time between two tellings of progress."""

RETRY_MS = 2000
"""After how long a reader whose connection broke comes again."""

LINGER_S = 10.0
"""For how long a job that was cancelled may have chunks that end after it: workers let go of them within seconds."""

BATCH_SEEDS = 256
"""Results that are made ready in one go, unless one chunk has more."""

END = "end"
"""Id of the last event where the log has none for it: of a job that has expired."""

EVENT_ID = re.compile(r"([1-9][0-9]{0,8})(?:\.([0-9]{1,4}))?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader is: behind so many entries of the log; of the results of the next one ``skip`` are known."""

    after: int = 0
    skip: int = 0

    @classmethod
    def parse(cls, last_event_id: str) -> Place:
        """Read the id of the last event that was seen, "" for none.

        Raises:
            ProblemError: it is the id of no event.
        """
        if last_event_id in ("", END):
            return cls()
        found = EVENT_ID.fullmatch(last_event_id)
        if not found:
            raise ProblemError("invalid-request", f"Last-Event-ID={shorten(last_event_id)} is the id of no event here")
        if found[2] is None:
            return cls(int(found[1]))
        return cls(int(found[1]) - 1, int(found[2]) + 1)


@dataclass(frozen=True, slots=True)
class Batch:
    """What is next for a reader: events, ready to be sent, the place behind them, and the job as it is then."""

    record: JobRecord
    job: str
    events: bytes
    next: Place
    told: bool
    """Whether a status is among the events."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream begins, with what follows there; ``told`` says whether the reader knows of a status."""

    place: Place
    batch: Batch
    told: bool


class EventLog:
    """Reads the events of jobs."""

    def __init__(self, connection: Connection, changes: Changes, jobs: Jobs, documents: Documents) -> None:
        self._connection = connection
        self._changes = changes
        self._jobs = jobs
        self._documents = documents

    async def read(self, seen: SeenJob, place: Place, *, results: bool) -> Batch:
        """Return what follows a place; nothing, and the same place, if that is the end for now.

        Raises:
            JobNotFound: the job's record has gone.
        """
        job_id = seen.record.id
        size = -(-seen.record.counts.total // seen.record.chunks)
        call = records.read_events(job_id, after=place.after, limit=max(1, BATCH_SEEDS // size))

        async def read() -> Batch:
            found = records.Events.parse(job_id, await self._connection.run(call), place.after)
            return await self._batch(replace(seen, record=found.record), place, found.entries, results=results)

        return await self._changes.share(job_id, ("events", place, results), read)

    async def begin(self, seen: SeenJob, last: str, *, results: bool) -> Start | None:
        """Return where a reader begins who saw the event of that id last, "" for none; ``None`` if nothing follows.

        Raises:
            ProblemError: it is the id of no event.
            JobNotFound: the job's record has gone.
        """
        asked = Place.parse(last)
        place = await self._known(seen.record.id, asked)
        batch = await self.read(seen, place, results=results)
        while not batch.events and batch.next != place:
            place = batch.next
            batch = await self.read(seen, place, results=results)
        record = batch.record
        if record.status is JobStatus.EXPIRED:
            over = last == END
        else:
            over = bool(last) and record.status.is_terminal and not batch.events and not lingers(record)
        return None if over else Start(place, batch, bool(asked.after))

    async def stream(
        self, seen: SeenJob, start: Start, stays: Callable[[], Awaitable[bool]], *, results: bool
    ) -> AsyncIterator[bytes]:
        """Yield what goes over the wire until the job has ended, the process is about to, or the reader may not stay.

        While Redis is away the stream stays open.
        """
        change = Change(self._changes)
        progress = Progress(start.batch.record.counts)
        place, told, ended_at = start.place, start.told, 0.0
        yield f"retry: {RETRY_MS}\n\n".encode() + _event("progress", start.batch.job)
        with self._changes.watching(seen.record.id, change):
            while (batch := await self._next(change, seen, place, results=results)) and await stays():
                told |= batch.told
                ended_at = (ended_at or time.monotonic()) if batch.record.status.is_terminal else 0.0
                if batch.next != place:
                    place = batch.next
                    if batch.events:
                        yield batch.events
                elif ended_at and not (lingers(batch.record) and time.monotonic() - ended_at < LINGER_S):
                    if batch.record.status is JobStatus.EXPIRED or not told:
                        yield _event("status", batch.job, END)
                    return
                else:
                    if progress.is_due(batch.record.counts):
                        yield _event("progress", batch.job)
                    if await progress.pause(change, batch.record.counts):
                        yield b": keep-alive\n\n"

    async def _next(self, change: Change, seen: SeenJob, place: Place, *, results: bool) -> Batch | None:
        """Return what follows a place as soon as Redis answers; ``None`` if nothing ever will."""
        while not self._changes.closing:
            try:
                return await self.read(seen, place, results=results)
            except QueueError:
                await change.wait(BLIND_POLL_S)
            except JobNotFound:
                return None
        return None

    async def _known(self, job_id: str, place: Place) -> Place:
        """Return a place, or the beginning if the log has no such: it is that of an earlier job of the same id."""
        number = place.after + (1 if place.skip else 0)
        if not number:
            return place
        call = records.read_events(job_id, after=number - 1, limit=1)
        entries = records.Events.parse(job_id, await self._connection.run(call), number - 1).entries
        known = entries and not (place.skip and entries[0].chunk is None)
        return place if known else Place()

    async def _batch(self, seen: SeenJob, place: Place, entries: list[Entry], *, results: bool) -> Batch:
        document = self._documents.job(seen)
        events: list[bytes] = []
        newest = {entry.chunk: entry.number for entry in entries}  # one that ran again has results of its last run only
        for number, entry in enumerate(entries):
            if results and entry.chunk is not None and newest[entry.chunk] == entry.number:
                events += await self._results(seen.record, entry, place.skip if number == 0 else 0)
            if entry.status is not None:
                events.append(_event("status", _json({**document, "status": str(entry.status)}), str(entry.number)))
        told = any(entry.status is not None for entry in entries)
        return Batch(
            seen.record, _json(document), b"".join(events), Place(entries[-1].number) if entries else place, told
        )

    async def _results(self, record: JobRecord, entry: Entry, skip: int) -> list[bytes]:
        """Return the events of a chunk's results; none if Redis has them no more."""
        texts = await self._jobs.chunk_texts(record, [entry.chunk or 0])
        found = list(decode_chunk_results(texts))[skip:]
        documents = await self._documents.results(found)
        return [_event("result", _json(one), f"{entry.number}.{n}") for n, one in enumerate(documents, skip)]


def lingers(record: JobRecord) -> bool:
    """Whether chunks of a job may yet end that was cancelled."""
    if record.status is not JobStatus.CANCELED or not record.counts.running or record.completed_at is None:
        return False
    return (datetime.now(UTC) - record.completed_at).total_seconds() < LINGER_S


class Progress:
    """When a reader was told of the job last."""

    def __init__(self, counts: Counts) -> None:
        self._told = counts
        self._told_at = self._sent_at = time.monotonic()

    def is_due(self, counts: Counts) -> bool:
        """Whether the reader is to be told of these counts now; it is then."""
        now = time.monotonic()
        if counts == self._told or now - self._told_at < PROGRESS_S:
            return False
        self._told, self._told_at, self._sent_at = counts, now, now
        return True

    async def pause(self, change: Change, counts: Counts) -> bool:
        """Wait for a change, or until there is something to tell; returns whether to show that the stream lives."""
        now = time.monotonic()
        due = self._told_at + PROGRESS_S if counts != self._told else self._sent_at + KEEP_ALIVE_S
        await change.wait(due - now)
        if time.monotonic() - self._sent_at < KEEP_ALIVE_S:
            return False
        self._sent_at = time.monotonic()
        return True


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _event(name: str, data: str, event_id: str | None = None) -> bytes:
    return format_sse_event(data_str=data, event=name, id=event_id)
