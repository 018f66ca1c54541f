"""HTTP/1.1 as uvicorn speaks it, with bounds on what a connection may take before and while it sends a request.

A connection that is silent, slow, or sends headers without end is closed: it costs its sender as little as us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 15.0
"""Seconds that request line and headers may take, from the first byte on, or since the connection was made."""

BODY_S = 60.0
"""Longest silence within a body."""

MAX_HEAD_BYTES = 64 * 1024
PIECE_BYTES = 16 * 1024

MAX_CONNECTIONS = 8192
"""Connections at once of one process; further ones are answered 503 and closed."""

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._in_head = True
        self._in_body = False
        self._begun = 0
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, if there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(BUSY)
        else:
            self._arm(HEAD_S, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came; a head is read in pieces, so that it is not much longer than it may be when that is seen."""
        while data and not self.transport.is_closing():
            begun, in_body = self._begun, self._in_body
            piece, data = (data, b"") if in_body else (data[:PIECE_BYTES], data[PIECE_BYTES:])
            super().data_received(piece)
            same = not (in_body or self._in_body) and begun == self._begun
            self._head_bytes = self._head_bytes + len(piece) if same else 0
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(TOO_LARGE)
        if not self.transport.is_closing():
            self._go_on()

    def on_message_begin(self) -> None:
        """Begin with a request."""
        super().on_message_begin()
        self._begun += 1
        self._in_head, self._in_body = True, False

    def on_headers_complete(self) -> None:
        """Hand the request over."""
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self._disarm()

    def on_message_complete(self) -> None:
        """End the body."""
        super().on_message_complete()
        self._in_body = False
        self._disarm()

    def _go_on(self) -> None:
        """Wait no longer than that for what comes next."""
        answered = self.cycle is None or self.cycle.response_complete
        if self._in_body and not answered:
            self._disarm()
            self._arm(BODY_S, self._close_unless_paused)
        elif self._deadline is None and (self._in_head or (answered and self.timeout_keep_alive_task is None)):
            self._arm(HEAD_S, self._close)

    def _close_unless_paused(self) -> None:
        self._deadline = None
        if self.flow.read_paused:  # it is not the sender who lets us wait
            self._arm(BODY_S, self._close_unless_paused)
        else:
            self._close()

    def _close(self) -> None:
        self._deadline = None
        self.transport.close()

    def _refuse(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        self._deadline = self.loop.call_later(seconds, then)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
