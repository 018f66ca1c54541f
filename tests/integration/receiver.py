"""A real HTTPS server that plays the receiver of webhooks, and answers as a test wants it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

NAME = "hooks.example.test"
HANG = b""
"""An answer that never comes."""


def answer(status: int, *headers: str, body: str = "") -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclass(frozen=True)
class Got:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers by ``answers``, and with 204 when these are used up; ``got`` is what it was sent."""

    answers: list[bytes]
    got: list[Got] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it is, by its name."""
        return f"https://{NAME}:{self.port}/hook?token=hush"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving[asyncio.current_task()] = writer
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.got.append(Got(request.split(" ")[1], headers, body))
            text = self.answers.pop(0) if self.answers else answer(204)
            if text == HANG:
                await reader.read()
            writer.write(text)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


@dataclass(frozen=True)
class Authority:
    """Who certifies receivers, and where its own certificate is."""

    ca: trustme.CA
    path: Path

    def context(self) -> ssl.SSLContext:
        """Return what a receiver of that name serves with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(NAME).configure_cert(context)
        return context


@asynccontextmanager
async def receiving(authority: Authority, *answers: bytes) -> AsyncIterator[Receiver]:
    """A receiver while it runs."""
    receiver = Receiver(list(answers))
    server = await asyncio.start_server(receiver.accept, "127.0.0.1", 0, ssl=authority.context())
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in receiver.serving.values():
            writer.transport.abort()
        await asyncio.gather(*(task for task in receiver.serving if task), return_exceptions=True)


async def until(reached: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something to be so."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.005)


@dataclass
class Resolver:
    """Knows addresses by name; of several answers for a name each is given once, the last one for ever."""

    known: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.known:
            raise OSError("Name or service not known")
        answers = self.known[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def here() -> Resolver:
    """Return a resolver that knows the receiver's name."""
    return Resolver({NAME: [["127.0.0.1"]]})
