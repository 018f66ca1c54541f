"""The clients' way over HTTP: sends what producer/http_calls.py describes, and repeats what may be repeated.

httpx2 comes with the extra ``http``; of the package, this module alone knows it. Redirects are not followed, so that
a key goes to nobody but the API that was named. When a request is repeated, producer/http_retries.py knows.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar

from producer import __version__
from producer import http_calls as calls
from producer.dead import DeadLetter
from producer.errors import DeadLetterNotFound, ExtraMissing, QueueUnreachable, SettingsError
from producer.http_calls import Answer, Call, Failure, Request
from producer.job import JobRecord
from producer.message import SeedResult
from producer.queue import QueueStatus
from producer.reconcile import Reconciliation
from producer.redaction import one_line
from producer.settings import HttpSettings, reveal
from producer.submission import Submission

try:
    import httpx2

    from producer.http_retries import Patience, give_up
except ImportError as error:
    raise ExtraMissing(f"the HTTP API needs httpx2 and stamina ({error}): pip install httpx2 stamina") from error

T = TypeVar("T")

H = TypeVar("H")

CONNECT_S = 5.0


class _PerProcess(Generic[H]):
    """What each process opens for itself: two that share a connection after a fork would read each other's answers."""

    def __init__(self, open_: Callable[[], H]) -> None:
        self._open = open_
        self._opened = os.getpid(), open_()

    def __call__(self) -> H:
        """Return what is open in this process."""
        process, opened = self._opened
        if process != os.getpid():
            opened = self._open()
            self._opened = os.getpid(), opened  # the other is left to its process, which may hold its lock
        return opened


class _Api:
    """What both ways have: where the API is, who asks, and what errors of the library mean."""

    holds: ClassVar[bool] = True

    def __init__(self, settings: HttpSettings) -> None:
        self.url = (settings.api_url or "").rstrip("/")
        key = reveal(settings.api_key)
        self.headers = {"User-Agent": f"seedmill/{__version__}", "Accept": "application/json"}
        if key is not None:
            if not key.isascii() or not key.isprintable() or " " in key:
                raise SettingsError(
                    "api_key (SEEDMILL_API_KEY) has a character that no key has: give it as it was made"
                )
            self.headers["Authorization"] = f"Bearer {key}"
        try:
            httpx2.URL(self.url)
        except httpx2.InvalidURL as error:
            raise SettingsError(f"{self.url!r} (SEEDMILL_API_URL) is not a URL: {error}") from error

    def options(self) -> dict[str, Any]:
        """Return the arguments of the library's client."""
        limits = httpx2.Limits(max_connections=None)  # every wait occupies one
        return {"headers": self.headers, "follow_redirects": False, "limits": limits}

    def arguments(self, request: Request, answer_s: float) -> dict[str, Any]:
        """Return the arguments of the library's ``request``, of which the answer may take so long."""
        return {
            "method": request.method,
            "url": self.url + request.path,
            "params": request.query or None,
            "json": request.json,
            "headers": request.headers,
            "timeout": httpx2.Timeout(answer_s, connect=min(CONNECT_S, answer_s)),
        }

    @contextmanager
    def translated(self, request: Request) -> Iterator[None]:
        """Turn the library's errors into failures; works around ``await`` as well."""
        try:
            yield
        except (httpx2.HTTPError, OSError) as error:
            # a request that never left may always be sent again, but no certificate becomes right by that
            unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
            again = (unsent or request.repeatable) and "CERTIFICATE_VERIFY_FAILED" not in str(error)
            reason = one_line(error) or type(error).__name__
            message = (
                f"the API at {self.url} does not answer ({reason}): is seedmill serve running there? "
                "If it is elsewhere, correct the URL (SEEDMILL_API_URL)"
            )
            raise Failure(QueueUnreachable(message), 0 if again else None) from error


def _answer(response: httpx2.Response) -> Answer:
    return Answer(response.status_code, response.headers, response.content)


class HttpBackend(_Api):
    """Blocking requests to the API; see :class:`producer.backend.Backend`."""

    def __init__(self, settings: HttpSettings) -> None:
        super().__init__(settings)
        self._http = _PerProcess(lambda: httpx2.Client(**self.options()))

    def run(self, call: Call[T], within_s: float | None = None) -> T:
        """Carry out a call, several times if need be and if that many seconds suffice."""
        patience = Patience(call.request, within_s)
        try:
            for attempt in patience.attempts():
                with attempt:
                    return self._once(call, patience.answer_s())
        except Failure as failure:
            give_up(failure)
        raise AssertionError  # stamina either returns or raises

    def _once(self, call: Call[T], answer_s: float) -> T:
        with self.translated(call.request):
            response = self._http().request(**self.arguments(call.request, answer_s))
        return calls.read_answer(call, _answer(response), self.url)

    def submit(self, submission: Submission, trace: str) -> JobRecord:
        """Enqueue a job."""
        return self.run(calls.submit(submission, trace))

    def read(
        self,
        job_id: str,
        *,
        place: bool = True,  # noqa: ARG002
        hold_s: int = 0,
        within_s: float | None = None,
    ) -> JobRecord:
        """Read a job, always with its place."""
        return self.run(calls.read_job(job_id, hold_s), within_s)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job."""
        return self.run(calls.cancel_job(job_id))

    def results(self, record: JobRecord) -> Iterator[SeedResult]:
        """Yield the results that are there."""
        page = self.run(calls.results(record.id, None))
        while True:
            yield from page.results
            if page.after is None:
                return
            page = self.run(calls.results(record.id, page.after))

    def queue(self) -> QueueStatus:
        """Look at the queue."""
        return self.run(calls.queue())

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""
        return self.run(calls.dead_letters(limit))

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return one dead letter."""
        return self.run(calls.dead_letter(letter_id))

    def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again."""
        return self.run(calls.replay(letter_id))

    def purge(self, letter_ids: Collection[str] | None) -> int:
        """Forget dead letters, one by one unless all are meant."""
        if letter_ids is None:
            return self.run(calls.purge_all())
        return sum(self._purge(letter_id) for letter_id in letter_ids)

    def _purge(self, letter_id: str) -> int:
        try:
            return self.run(calls.purge(letter_id))
        except DeadLetterNotFound:
            return 0

    def reconcile(self) -> Reconciliation:
        """Enqueue again what was lost."""
        return self.run(calls.reconcile())

    def close(self) -> None:
        """Close the connections."""
        self._http().close()


class AsyncHttpBackend(_Api):
    """Requests to the API from asyncio; see :class:`producer.backend.AsyncBackend`."""

    def __init__(self, settings: HttpSettings) -> None:
        super().__init__(settings)
        self._http = _PerProcess(lambda: httpx2.AsyncClient(**self.options()))

    async def run(self, call: Call[T], within_s: float | None = None) -> T:
        """Carry out a call, several times if need be and if that many seconds suffice."""
        patience = Patience(call.request, within_s)
        try:
            async for attempt in patience.attempts():
                with attempt:
                    return await self._once(call, patience.answer_s())
        except Failure as failure:
            give_up(failure)
        raise AssertionError  # stamina either returns or raises

    async def _once(self, call: Call[T], answer_s: float) -> T:
        with self.translated(call.request):
            response = await self._http().request(**self.arguments(call.request, answer_s))
        return calls.read_answer(call, _answer(response), self.url)

    async def submit(self, submission: Submission, trace: str) -> JobRecord:
        """Enqueue a job."""
        return await self.run(calls.submit(submission, trace))

    async def read(
        self,
        job_id: str,
        *,
        place: bool = True,  # noqa: ARG002
        hold_s: int = 0,
        within_s: float | None = None,
    ) -> JobRecord:
        """Read a job, always with its place."""
        return await self.run(calls.read_job(job_id, hold_s), within_s)

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job."""
        return await self.run(calls.cancel_job(job_id))

    async def results(self, record: JobRecord) -> AsyncIterator[SeedResult]:
        """Yield the results that are there."""
        page = await self.run(calls.results(record.id, None))
        while True:
            for result in page.results:
                yield result
            if page.after is None:
                return
            page = await self.run(calls.results(record.id, page.after))

    async def queue(self) -> QueueStatus:
        """Look at the queue."""
        return await self.run(calls.queue())

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""
        return await self.run(calls.dead_letters(limit))

    async def dead_letter(self, letter_id: str) -> DeadLetter:
        """Return one dead letter."""
        return await self.run(calls.dead_letter(letter_id))

    async def replay(self, letter_id: str) -> DeadLetter:
        """Send a dead letter to the queue again."""
        return await self.run(calls.replay(letter_id))

    async def purge(self, letter_ids: Collection[str] | None) -> int:
        """Forget dead letters, one by one unless all are meant."""
        if letter_ids is None:
            return await self.run(calls.purge_all())
        return sum([await self._purge(letter_id) for letter_id in letter_ids])

    async def _purge(self, letter_id: str) -> int:
        try:
            return await self.run(calls.purge(letter_id))
        except DeadLetterNotFound:
            return 0

    async def reconcile(self) -> Reconciliation:
        """Enqueue again what was lost."""
        return await self.run(calls.reconcile())

    async def close(self) -> None:
        """Close the connections."""
        await self._http().aclose()
