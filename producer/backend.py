"""What the clients talk through: Redis itself (producer/redis_backend.py), or the HTTP API (producer/http_backend.py).

The clients have the names that users see, a backend does what they say. Which of the two it is, arguments decide, and
where there are none the environment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from producer.dead import DeadLetter
from producer.errors import SettingsError
from producer.job import JobRecord
from producer.message import SeedResult
from producer.queue import QueueStatus
from producer.reconcile import Reconciliation
from producer.redaction import redact
from producer.settings import HttpSettings, ProducerSettings
from producer.submission import Submission


class Backend(Protocol):
    """Carries out the calls of the blocking client, and raises what that documents."""

    holds: ClassVar[bool]
    """Whether :meth:`read` can be held back until the job has ended, and keeps to ``within_s``."""

    def submit(self, submission: Submission, trace: str) -> JobRecord:
        """Enqueue a job, or find the one of that id; ``trace`` is the trace context (producer/tracing.py)."""

    def read(self, job_id: str, *, place: bool = True, hold_s: int = 0, within_s: float | None = None) -> JobRecord:
        """Read a job, with its place in the queue if wanted; the answer may be held for so long until it has ended.

        After ``within_s`` seconds, it is not tried again.
        """

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job unless it has ended, and read it."""

    def results(self, record: JobRecord) -> Iterator[SeedResult]:
        """Yield the results that are there, in the order of the seeds."""

    def queue(self) -> QueueStatus:
        """Look at the queue."""

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return one dead letter."""

    def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again."""

    def purge(self, letter_ids: Collection[str] | None) -> int:
        """Forget these dead letters, or with ``None`` all; returns how many are gone."""

    def reconcile(self) -> Reconciliation:
        """Enqueue again what is in no list although its job has not ended."""

    def close(self) -> None:
        """Close the connections."""


class AsyncBackend(Protocol):
    """The same for the asyncio client; see :class:`Backend`."""

    holds: ClassVar[bool]

    async def submit(self, submission: Submission, trace: str) -> JobRecord:
        """Enqueue a job."""

    async def read(
        self, job_id: str, *, place: bool = True, hold_s: int = 0, within_s: float | None = None
    ) -> JobRecord:
        """Read a job."""

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job."""

    def results(self, record: JobRecord) -> AsyncIterator[SeedResult]:
        """Yield the results that are there."""

    async def queue(self) -> QueueStatus:
        """Look at the queue."""

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""

    async def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return one dead letter."""

    async def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again."""

    async def purge(self, letter_ids: Collection[str] | None) -> int:
        """Forget dead letters."""

    async def reconcile(self) -> Reconciliation:
        """Enqueue again what was lost."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a client talks to: the HTTP API if ``api`` is there, else Redis."""

    settings: ProducerSettings
    api: HttpSettings | None

    @classmethod
    def choose(
        cls,
        redis_url: str | None,
        url: str | None,
        api_key: str | None,
        *,
        chunk_size: int | None,
        result_ttl_s: int | None,
        queue: str | None,
    ) -> Target:
        """Decide from a client's arguments, and the environment where they say nothing.

        Raises:
            SettingsError: they contradict each other, or one cannot be used.
        """
        if url is not None and redis_url is not None:
            raise SettingsError("url and redis_url are two ways to one queue: give one of them")
        if redis_url is not None and str(redis_url).startswith(("http://", "https://")):
            raise SettingsError(
                f"{redact(str(redis_url))!r} (SEEDMILL_REDIS_URL) is no Redis: give the HTTP API as url (--url)"
            )
        api = HttpSettings.load(api_url=url, api_key=api_key) if redis_url is None else None
        if api is None or api.api_url is None:
            if api_key is not None:
                raise SettingsError("api_key is for the HTTP API: give its url too (SEEDMILL_API_URL)")
            given = {"redis_url": redis_url, "chunk_size": chunk_size, "result_ttl_s": result_ttl_s, "queue": queue}
            return cls(ProducerSettings.load(**given), None)
        if result_ttl_s is not None:
            raise SettingsError(
                f"result_ttl_s={result_ttl_s!r} cannot be chosen over HTTP: the API has its own (SEEDMILL_RESULT_TTL_S)"
            )
        return cls(ProducerSettings.load(chunk_size=chunk_size, queue=queue), api)
