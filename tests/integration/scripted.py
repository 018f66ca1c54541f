"""An HTTP server that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def answer(status: int, code: str = "", *, headers: str = "", body: bytes | None = None) -> bytes:
    """Return an answer; with ``code`` one that refuses as S3 does."""
    text = f"<Error><Code>{code}</Code><Message>&quot;why&quot;</Message></Error>".encode() if code else b""
    body = text if body is None else body
    return f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class Request:
    """What came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def method(self) -> str:
        return self.line.split()[0]


Reply = Callable[["Visit", Request], bool]
"""Answers a request; returns whether the connection goes on."""


def say(data: bytes, *, then_close: bool = False) -> Reply:
    """Answer with these bytes."""

    def reply(visit: Visit, _: Request) -> bool:
        visit.socket.sendall(data)
        return not then_close

    return reply


def hang_up(_: Visit, __: Request) -> bool:
    """Close without an answer."""
    return False


def reset(visit: Visit, _: Request) -> bool:
    """Reset the connection."""
    visit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def stay_silent(visit: Visit, _: Request) -> bool:
    """Say nothing until the client hangs up."""
    return bool(visit.socket.recv(1))


@dataclass
class Scripted:
    """The server: replies in this order, and to all that comes after them with ``always``."""

    replies: list[Reply] = field(default_factory=list)
    always: Reply = field(default_factory=lambda: say(OK))
    reads_bodies: bool = True
    requests: list[Request] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    accepted: int = 0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next_reply(self, request: Request) -> Reply:
        with self.lock:
            self.requests.append(request)
            return self.replies.pop(0) if self.replies else self.always


class Visit(threading.Thread):
    """One connection."""

    def __init__(self, server: Scripted, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.socket = connection

    def run(self) -> None:
        with self.server.lock:
            self.server.accepted += 1
            self.server.open += 1
            self.server.most_open = max(self.server.most_open, self.server.open)
        with suppress(OSError), self.socket, self.socket.makefile("rb") as file:
            while first := file.readline():
                lines = iter(lambda: file.readline().decode().strip(), "")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                if headers.get("expect") == "100-continue":
                    self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = file.read(int(headers.get("content-length", 0))) if self.server.reads_bodies else b""
                request = Request(first.decode().strip(), headers, body)
                if not self.server.next_reply(request)(self, request):
                    break
        with self.server.lock:
            self.server.open -= 1


@contextmanager
def scripted_server() -> Iterator[Scripted]:
    """Yield a server that listens."""
    server = Scripted()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server.port = listening.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    Visit(server, connection).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)
