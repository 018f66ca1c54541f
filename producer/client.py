"""The blocking client: enqueue seeds, poll jobs, read results, over Redis or Valkey directly or over the HTTP API.

It needs no Celery, torch or S3 library. Seeds are checked before anything is sent, and a job is enqueued whole or
not at all. For asyncio see producer/aio.py, which has the same names.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import redis

from producer.backend import Backend, Target
from producer.contract import JobStatus, Priority
from producer.dead import DeadLetter
from producer.errors import JobFailed, QueueUnreachable, RateLimited
from producer.job import JobRecord, JobView
from producer.lua import Call
from producer.message import SeedResult
from producer.pace import HOLD_WAIT_S, HOLD_WATCH_S, Pace
from producer.queue import QueueStatus
from producer.reconcile import Reconciliation
from producer.redis_backend import RedisBackend
from producer.seeds import Seeds
from producer.settings import HttpSettings
from producer.submission import Submission, check_extras
from producer.tracing import submitting


class Job(JobView):
    """A job on the queue; properties tell what was true at the last :meth:`refresh`."""

    def __init__(self, record: JobRecord, client: Client) -> None:
        super().__init__(record)
        self._client = client

    def refresh(self) -> Self:
        """Read the record again.

        Raises:
            JobNotFound: if the record has gone.
            QueueUnreachable: if Redis, or the API, does not answer.
        """
        self._record = self._client._read(self.id)
        return self

    def watch(self, timeout: float | None = None) -> Iterator[Self]:
        """Yield the job after each poll until it has ended.

        Raises:
            JobTimeout: when ``timeout`` seconds have passed; the job goes on. Over HTTP, an API that does not answer
                changes nothing about that, but for a second that its last answer may take.
            QueueUnreachable: it does not answer, nor has it after some attempts; over Redis these take as long as they
                do (up to about half a minute) even if the time is over meanwhile.
            SettingsError: ``timeout`` is no number of seconds.
        """
        yield from self._watch(self._client._pace(timeout, HOLD_WATCH_S), place=True)

    def _watch(self, pace: Pace, *, place: bool) -> Iterator[Self]:
        while True:
            self._poll(pace, place=place)
            yield self
            if self.status.is_terminal:
                return
            time.sleep(pace.delay(self, time.monotonic()))

    def _poll(self, pace: Pace, *, place: bool) -> None:
        backend, now = self._client._backend, time.monotonic()
        try:
            self._record = backend.read(self.id, place=place, hold_s=pace.hold(now), within_s=pace.left(now))
        except (QueueUnreachable, RateLimited):
            if backend.holds:
                pace.check(self, time.monotonic())
            raise

    def wait(self, timeout: float | None = None, *, check: bool = True) -> Self:
        """Block until the job has ended.

        Args:
            timeout: seconds; ``None`` waits for ever.
            check: raise if the job ended otherwise than succeeded.

        Raises:
            JobFailed: the job ended failed, canceled or expired (results of the good seeds are still there).
            JobTimeout: it has not ended in time; the job goes on.
            QueueUnreachable, SettingsError: as in :meth:`watch`.
        """
        return self._wait(self._client._pace(timeout, HOLD_WAIT_S), check=check)

    def _wait(self, pace: Pace, *, check: bool) -> Self:
        for _ in self._watch(pace, place=False):
            pass
        if check and self.status is not JobStatus.SUCCEEDED:
            raise JobFailed(self)
        return self

    def results(self) -> Iterator[SeedResult]:
        """Yield the results that are there, in the order of the seeds; read page by page, so any size will do.

        Of a job that has not ended these are the chunks that had when their page was read. Chunks end in any order, so
        there may be gaps; what ends in them after that is not yielded: read again once the job has ended.
        """
        return self._client._backend.results(self._record)

    def cancel(self) -> Self:
        """Cancel the job unless it has ended; what no worker has taken yet is never computed."""
        self._record = self._client._backend.cancel(self.id)
        return self


class Client:
    """Enqueue seeds and follow jobs, at Redis itself (``Client("redis://...")``) or over HTTP (``Client(url=...)``).

    Args:
        redis_url: where Redis or Valkey is.
        url: where the HTTP API is, as in ``http://127.0.0.1:8000``; needs the extra ``http``.
        api_key: the key that the API knows the caller by, if it asks for one.
        chunk_size: seeds in one message, 1 to 1024; over HTTP that of the API unless it is given.
        result_ttl_s: seconds that jobs and results can be polled after their last change; over HTTP the API's.
        queue: queue that jobs go to; over HTTP that of the API unless it is given.

    What is not given is read from ``SEEDMILL_API_URL`` and ``SEEDMILL_API_KEY``, which win where neither address is
    given, and from ``SEEDMILL_REDIS_URL``, ``SEEDMILL_CHUNK_SIZE``, ``SEEDMILL_RESULT_TTL_S`` and
    ``SEEDMILL_QUEUE``. Over HTTP, requests that may be repeated are, as late as the server asks.

    Raises:
        SettingsError: if a setting cannot be used. No connection is made before the first call.
        ExtraMissing: httpx2 or stamina is not installed, which HTTP needs.
    """

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
        """Where the HTTP API is; ``None`` for a client of Redis itself."""
        self._backend: Backend = _open_http(target.api) if target.api else RedisBackend(target.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._backend.close()

    def submit(
        self,
        seeds: Seeds,
        *,
        job_id: str | None = None,
        priority: Priority | str | None = None,
        queue: str | None = None,
        force: bool = False,
        metadata: Mapping[str, Any] | None = None,
        webhook: str | None = None,
    ) -> Job:
        """Enqueue one seed, a list or a range as one job; returns when all of it is accepted.

        Args:
            seeds: an integer from 0 to 4294967295, an iterable of them, or a range; at most a million.
            job_id: an id of your own (letters, digits, ``-`` and ``_``): if that job exists with these seeds it is
                returned as it is and nothing is enqueued again, so a submit whose answer was lost can be repeated.
            priority: ``interactive`` or ``bulk``; left out, a job of one message is interactive and a longer one bulk.
            queue: the queue, and so the model, if it is another than that of the client.
            force: compute also what is published already; the same bytes are written again.
            metadata: what you want to find with the job again; at most 8 KiB as JSON.
            webhook: the URL that is told when the job has ended, by a running ``seedmill serve``.

        Raises:
            InvalidSeed, InvalidJobId, SettingsError: naming the value; nothing was enqueued.
            JobConflict: a job of that id exists with other seeds; nothing was enqueued.
            QueueUnknown: no worker has ever served that queue; nothing was enqueued.
            QueueFull, Unauthorized, Forbidden: over HTTP alone; nothing was enqueued.
            QueueUnreachable, QueueRefused: nothing is known to be enqueued; repeat with the same ``job_id``.
        """
        extras = check_extras(metadata, webhook)
        submission = Submission.check(seeds, job_id, self.settings, priority, queue=queue, force=force, extras=extras)
        with submitting(submission) as trace:
            return Job(self._backend.submit(submission, trace), self)

    def get(self, job_id: str) -> Job:
        """Return the job of that id.

        Raises:
            JobNotFound: if there is no record of it.
        """
        return Job(self._read(job_id), self)

    def wait(self, job_id: str, timeout: float | None = None, *, check: bool = True) -> Job:
        """Block until that job has ended; see :meth:`Job.wait`.

        Raises:
            JobNotFound: if there is no record of it.
            QueueUnreachable, RateLimited: over HTTP also if it was not seen even once in ``timeout`` seconds.
        """
        pace = self._pace(timeout, HOLD_WAIT_S)
        record = self._backend.read(job_id, within_s=pace.left(time.monotonic()))
        return Job(record, self)._wait(pace, check=check)

    def cancel(self, job_id: str) -> Job:
        """Cancel that job unless it has ended; see :meth:`Job.cancel`."""
        return Job(self._backend.cancel(job_id), self)

    def queue(self) -> QueueStatus:
        """Return what waits, what workers hold, and the workers seen lately."""
        return self._backend.queue()

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return the newest dead letters: chunks of which seeds failed, and messages that were no chunks.

        Raises:
            SettingsError: ``limit`` is no number from 1 on.
        """
        return self._backend.dead_letters(limit)

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return a dead letter, or raise :class:`~producer.errors.DeadLetterNotFound`."""
        return self._backend.dead_letter(letter_id)

    def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again, as part of its job, which then runs again; returns the letter.

        Raises:
            DeadLetterNotFound: there is no such letter.
            ReplayRefused: its job has expired or was cancelled, or it was not kept whole.
        """
        return self._backend.replay(letter_id)

    def purge(self, letter_ids: Collection[str] | None = None) -> int:
        """Forget these dead letters, or with ``None`` all of them; returns how many are gone."""
        if letter_ids is not None and not letter_ids:
            return 0
        return self._backend.purge(letter_ids)

    def reconcile(self) -> Reconciliation:
        """Enqueue again what is in no list although its job has not ended; takes a few seconds if something is."""
        return self._backend.reconcile()

    def _read(self, job_id: str, *, place: bool = True) -> JobRecord:
        return self._backend.read(job_id, place=place)

    def _pace(self, timeout: float | None, hold_s: int) -> Pace:
        return Pace(time.monotonic(), timeout, hold_s=hold_s if self._backend.holds else 0)

    @property
    def _redis(self) -> redis.Redis:
        return self._over_redis().redis

    def _run(self, call: Call) -> Any:
        return self._over_redis().run(call)

    def _over_redis(self) -> RedisBackend:
        """Return what carries out calls that only Redis itself knows, which the worker makes too."""
        if not isinstance(self._backend, RedisBackend):
            raise TypeError("only a client of Redis itself can do that: Client(redis_url)")
        return self._backend


def _open_http(settings: HttpSettings) -> Backend:
    """Return what speaks to the API: an optional extra, so that its libraries are loaded here alone."""
    from producer.http_backend import HttpBackend

    return HttpBackend(settings)
