"""The blocking client: enqueue seeds, poll jobs, read results, over Redis or Valkey directly.

It needs no Celery, torch or S3 library. Seeds are checked before anything is sent, and a job is enqueued whole or
not at all. For asyncio see producer/aio.py, which has the same names.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any, Self

from producer import dead, records
from producer.connection import connect, translated
from producer.contract import JobStatus, Priority
from producer.dead import DeadLetter
from producer.errors import JobConflict, JobFailed, JobNotFound
from producer.job import JobRecord, JobView
from producer.lua import Call
from producer.message import SeedResult, decode_chunk_results
from producer.pace import Pace
from producer.queue import QueueStatus, parse_queue_status, queue_status
from producer.reconcile import Reconciliation, reconcile
from producer.seeds import Seeds
from producer.settings import ProducerSettings
from producer.submission import Submission
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
            QueueUnreachable: if Redis does not answer.
        """
        self._record = self._client._read(self.id)
        return self

    def watch(self, timeout: float | None = None) -> Iterator[Self]:
        """Yield the job after each poll until it has ended.

        Raises:
            JobTimeout: when ``timeout`` seconds have passed; the job goes on.
            SettingsError: ``timeout`` is no number of seconds.
        """
        yield from self._watch(timeout, place=True)

    def _watch(self, timeout: float | None, *, place: bool) -> Iterator[Self]:
        pace = Pace(time.monotonic(), timeout)
        while True:
            self._record = self._client._read(self.id, place=place)
            yield self
            if self.status.is_terminal:
                return
            time.sleep(pace.delay(self, time.monotonic()))

    def wait(self, timeout: float | None = None, *, check: bool = True) -> Self:
        """Block until the job has ended.

        Args:
            timeout: seconds; ``None`` waits for ever.
            check: raise if the job ended otherwise than succeeded.

        Raises:
            JobFailed: the job ended failed, canceled or expired (results of the good seeds are still there).
            JobTimeout: it has not ended in time.
        """
        for _ in self._watch(timeout, place=False):
            pass
        if check and self.status is not JobStatus.SUCCEEDED:
            raise JobFailed(self)
        return self

    def results(self) -> Iterator[SeedResult]:
        """Yield the results that are there, in the order of the seeds; read page by page, so any size will do."""
        return self._client._results(self._record)

    def cancel(self) -> Self:
        """Cancel the job unless it has ended; what no worker has taken yet is never computed."""
        self._client._cancel(self.id)
        return self.refresh()


class Client:
    """Enqueue seeds and follow jobs.

    Args:
        redis_url: where Redis or Valkey is.
        chunk_size: seeds in one message, 1 to 1024.
        result_ttl_s: seconds that jobs and results can be polled after their last change.

    What is not given is read from ``SEEDMILL_REDIS_URL``, ``SEEDMILL_CHUNK_SIZE`` and ``SEEDMILL_RESULT_TTL_S``.

    Raises:
        SettingsError: if a setting cannot be used. No connection is made before the first call.
    """

    def __init__(
        self, redis_url: str | None = None, *, chunk_size: int | None = None, result_ttl_s: int | None = None
    ) -> None:
        self.settings = ProducerSettings.load(redis_url=redis_url, chunk_size=chunk_size, result_ttl_s=result_ttl_s)
        self._redis = connect(self.settings.redis_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def submit(
        self, seeds: Seeds, *, job_id: str | None = None, priority: Priority | str | None = None, force: bool = False
    ) -> Job:
        """Enqueue one seed, a list or a range as one job; returns when Redis has accepted all of it.

        Args:
            seeds: an integer from 0 to 4294967295, an iterable of them, or a range; at most a million.
            job_id: an id of your own (letters, digits, ``-`` and ``_``): if that job exists with these seeds it is
                returned as it is and nothing is enqueued again, so a submit whose answer was lost can be repeated.
            priority: ``interactive`` or ``bulk``; left out, a job of one message is interactive and a longer one bulk.
            force: compute also what is published already; the same bytes are written again.

        Raises:
            InvalidSeed, InvalidJobId, SettingsError: naming the value; nothing was enqueued.
            JobConflict: a job of that id exists with other seeds; nothing was enqueued.
            QueueUnreachable, QueueRefused: nothing is known to be enqueued; repeat with the same ``job_id``.
        """
        submission = Submission.check(seeds, job_id, self.settings, priority, force=force)
        with submitting(submission) as trace:
            if self._run(submission.call(trace)) < 0:
                raise JobConflict(submission.job_id)
            return self.get(submission.job_id)

    def get(self, job_id: str) -> Job:
        """Return the job of that id.

        Raises:
            JobNotFound: if there is no record of it.
        """
        return Job(self._read(job_id), self)

    def wait(self, job_id: str, timeout: float | None = None, *, check: bool = True) -> Job:
        """Block until that job has ended; see :meth:`Job.wait`."""
        return self.get(job_id).wait(timeout, check=check)

    def cancel(self, job_id: str) -> Job:
        """Cancel that job unless it has ended; see :meth:`Job.cancel`."""
        return self.get(job_id).cancel()

    def queue(self) -> QueueStatus:
        """Return what waits, what workers hold, and the workers seen lately."""
        return parse_queue_status(self._run(queue_status()))

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return the newest dead letters: chunks of which seeds failed, and messages that were no chunks."""
        return dead.parse_dead(self._run(dead.list_dead(limit)))

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return a dead letter, or raise :class:`~producer.errors.DeadLetterNotFound`."""
        return dead.only(dead.parse_dead(self._run(dead.list_dead(1, letter_id))), letter_id)

    def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again, as part of its job, which then runs again; returns the letter.

        Raises:
            DeadLetterNotFound: there is no such letter.
            ReplayRefused: its job has expired or was cancelled, or it was not kept whole.
        """
        letter = self.dead_letter(letter_id)
        dead.check_replay(letter, self._run(dead.replay_dead(letter)))
        return letter

    def purge(self, letter_ids: Collection[str] | None = None) -> int:
        """Forget these dead letters, or with ``None`` all of them; returns how many are gone."""
        if letter_ids is not None and not letter_ids:
            return 0
        return int(self._run(dead.purge_dead(letter_ids or ())))

    def reconcile(self) -> Reconciliation:
        """Enqueue again what is in no list although its job has not ended; takes a few seconds if something is."""
        with translated(self.settings.redis_url):
            return reconcile(self._redis)

    def _run(self, call: Call) -> Any:
        with translated(self.settings.redis_url):
            return self._redis.register_script(call.script)(keys=call.keys, args=call.args)

    def _read(self, job_id: str, *, place: bool = True) -> JobRecord:
        records.check_known(job_id)
        return JobRecord.read(job_id, self._run(records.read_job(job_id, place=place)))

    def _cancel(self, job_id: str) -> None:
        if self._run(records.cancel_job(job_id)) < 0:
            raise JobNotFound(job_id)

    def _results(self, record: JobRecord) -> Iterator[SeedResult]:
        for keys in record.result_key_pages():
            with translated(self.settings.redis_url):
                texts: Any = self._redis.mget(keys)
            record.check_results(texts)
            yield from decode_chunk_results(texts)
