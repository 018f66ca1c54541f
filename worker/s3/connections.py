"""HTTP/1.1 to one server, on connections that are kept: as much of it as requests for objects need.

At most so many connections are open at a time; who finds none free waits. A connection that the server has closed in
the meantime is no error: the request goes out again on a new one. Errors are those that botocore raises.
"""

from __future__ import annotations

import select
import socket
import ssl
import weakref
from io import BufferedReader
from queue import Empty, LifoQueue
from typing import NamedTuple

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

BLOCK = 128 * 1024
"""Bytes that are sent within one timeout."""
LONGEST_LINE = 64 * 1024
MOST_HEADERS = 200
BLANK = {b"\r\n", b"\n"}
NO_BODY = {204, 304}
INTERIM, REFUSED = 200, 300
"""Answers below the one are only interim; from the other on they are no successes."""
MOST_INTERIM = 20


class Server(NamedTuple):
    """Where a server is, and how it is spoken to."""

    url: str
    """For messages."""
    host: str
    port: int
    timeout_s: float
    """For the connection, and for every wait on it."""
    tls: ssl.SSLContext | None


class Answer(NamedTuple):
    """What a server said; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connections:
    """The connections to a server; safe to use from many threads. They are closed with this object.

    Args:
        server: the server.
        size: connections that are open at most.
    """

    def __init__(self, server: Server, size: int) -> None:
        self._server = server
        self._places: LifoQueue[Connection | None] = LifoQueue()
        for _ in range(size):
            self._places.put(None)
        weakref.finalize(self, _close_all, self._places)

    def exchange(self, head: bytes, body: bytes = b"", *, expects_body: bool = True) -> Answer:
        """Send a request that may be sent twice, and return its answer.

        Raises:
            ConnectionError, HTTPClientError: of botocore.
        """
        connection = self._places.get()
        try:
            if connection is not None and connection.is_fit():
                try:
                    return connection.exchange(head, body, expects_body=expects_body)
                except ConnectionClosedError:
                    if connection.answered:
                        raise
            connection = Connection(self._server)
            return connection.exchange(head, body, expects_body=expects_body)
        finally:
            self._places.put(connection if connection is not None and connection.is_open else None)


class Connection:
    """One connection, for one thread at a time; it closes itself when it cannot be used again."""

    def __init__(self, server: Server) -> None:
        self.answered = False
        """Whether anything has come back for the latest request."""
        self.is_open = True
        self._server = server
        self._socket = _connect(server)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def is_fit(self) -> bool:
        """Return whether the server has kept it open; closes it otherwise."""
        decrypted = self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
        if decrypted or self._poll.poll(0):  # nothing is due: this is the end, or an answer to nothing
            self.close()
        return self.is_open

    def exchange(self, head: bytes, body: bytes, *, expects_body: bool) -> Answer:
        """Send a request and return its answer."""
        self.answered = keep = False
        try:
            unsent = self._send(head, body)
            with self._socket.makefile("rb") as file:
                answer, keep = self._receive(file, expects_body)
            keep = keep and not unsent and (not body or answer.status < REFUSED)  # who refuses may not have read it
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=self._server.url, error=error) from error
        except (OSError, EOFError, ValueError, OverflowError) as error:
            raise ConnectionClosedError(endpoint_url=self._server.url, error=error) from error
        finally:
            if not keep:
                self.close()
        return answer

    def close(self) -> None:
        """Close it."""
        self.is_open = False
        self._socket.close()

    def _send(self, head: bytes, body: bytes) -> bool:
        """Send a request; returns whether the server did not take all of it, as one that refuses may do."""
        first = BLOCK - len(head)
        view = memoryview(body)
        try:
            self._socket.sendall(head + view[:first])
            for start in range(first, len(body), BLOCK):
                self._socket.sendall(view[start : start + BLOCK])
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, TimeoutError):
            return True
        return False

    def _receive(self, file: BufferedReader, expects_body: bool) -> tuple[Answer, bool]:
        """Return the answer, and whether the connection can be used again."""
        for _ in range(MOST_INTERIM):
            line = _line(file)
            self.answered = True
            version, _, rest = line.partition(b" ")
            if not version.startswith(b"HTTP/1."):
                raise ValueError(f"no HTTP: {line[:40]!r}")
            status = int(rest[:3])
            headers = _headers(file)
            if status >= INTERIM:  # before that it only says that it goes on
                break
        else:
            raise ValueError("no end of interim answers")
        keep = version == b"HTTP/1.1" and headers.get("connection", "").lower() != "close"
        if not expects_body or status in NO_BODY:
            body = b""
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body = _chunks(file)
        elif "content-length" in headers:
            body = _exactly(file, int(headers["content-length"]))
        else:
            body, keep = file.read(), False
        return Answer(status, headers, body), keep


def _connect(server: Server) -> socket.socket:
    try:
        plain = socket.create_connection((server.host, server.port), server.timeout_s)
    except TimeoutError as error:
        raise ConnectTimeoutError(endpoint_url=server.url, error=error) from error
    except OSError as error:
        raise EndpointConnectionError(endpoint_url=server.url, error=error) from error
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server.tls.wrap_socket(plain, server_hostname=server.host) if server.tls else plain
    except BaseException as error:
        plain.close()
        if isinstance(error, TimeoutError):
            raise ConnectTimeoutError(endpoint_url=server.url, error=error) from error
        if isinstance(error, ssl.SSLError):
            raise SSLError(endpoint_url=server.url, error=error) from error
        if isinstance(error, OSError):
            raise EndpointConnectionError(endpoint_url=server.url, error=error) from error
        raise


def _line(file: BufferedReader) -> bytes:
    line = file.readline(LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise EOFError("the answer ends within a line")
    return line.rstrip()


def _headers(file: BufferedReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MOST_HEADERS):
        line = file.readline(LONGEST_LINE)
        if line in BLANK:
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    raise ValueError("no end of the headers")


def _exactly(file: BufferedReader, length: int) -> bytes:
    if length < 0:
        raise ValueError("a negative length")
    data = file.read(length)
    if len(data) < length:
        raise EOFError(f"the answer ends after {len(data)} of {length} bytes")
    return data


def _chunks(file: BufferedReader) -> bytes:
    parts = []
    while length := int(_line(file).partition(b";")[0], 16):
        parts.append(_exactly(file, length))
        _exactly(file, 2)  # the end of its line
    _headers(file)
    return b"".join(parts)


def _close_all(places: LifoQueue[Connection | None]) -> None:
    try:
        while True:
            if connection := places.get_nowait():
                connection.close()
    except Empty:
        pass
