"""Files that the API hands through: few at a time, since each is in memory while it is sent, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from producer.errors import RateLimited

MOST_FILES = 4
"""Files that a process reads and sends at once."""

WAIT_S = 5.0
"""Seconds that a request waits for its turn."""

RETRY_S = 5

SEND_S = 60.0
"""Seconds in which a caller has to take a file."""

PIECE_BYTES = 256 * 1024
"""What is handed to the connection at once: it keeps what the caller has not taken."""

log = structlog.get_logger(__name__)


class Files:
    """Gives out the places that files are sent from."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MOST_FILES)

    async def answer(
        self, read: Callable[[], Awaitable[bytes]], headers: Mapping[str, str], media_type: str
    ) -> FileResponse:
        """Return the answer that sends what ``read`` gives; its place is free once that is sent.

        Raises:
            RateLimited: too many files are being sent.
        """
        try:
            await asyncio.wait_for(self._places.acquire(), WAIT_S)
        except TimeoutError:
            raise RateLimited("too many files are being sent at present: try again soon", RETRY_S) from None
        try:
            content = await read()
        except BaseException:
            self._places.release()
            raise
        return FileResponse(content, headers, media_type, self._places.release)


class FileResponse(StreamingResponse):
    """Sends bytes piece by piece, and breaks off where they are not taken in time; ``done`` is called in any case."""

    def __init__(self, content: bytes, headers: Mapping[str, str], media_type: str, done: Callable[[], None]) -> None:
        super().__init__(_pieces(content), 200, {**headers, "Content-Length": str(len(content))}, media_type)
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await asyncio.wait_for(super().__call__(scope, receive, send), SEND_S)
        except TimeoutError:
            log.warning("a file was not taken in time", action="file_not_taken", path=scope["path"])
        finally:
            self._done()


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]
