"""A server on a real socket that answers as it was told to, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from producer import AsyncClient, Client
from producer.problems import MEDIA_TYPE, TYPE_PREFIX

JOB = {
    "id": "mine",
    "status": "queued",
    "counts": {"total": 3, "queued": 3, "running": 0, "succeeded": 0, "failed": 0, "canceled": 0, "of_tomorrow": 0},
    "created_at": "2026-01-01T00:00:00+00:00",
    "started_at": None,
    "completed_at": None,
    "expires_at": "2026-01-08T00:00:00Z",
    "queue_position": 0,
    "seeds_per_s": None,
    "eta_s": None,
    "manifest_uri": None,
    "priority": "bulk",
    "metadata": None,
    "webhook": None,
    "urls": {},
    "error": None,
}
LETTER = {"id": "x", "at": "2026-01-01T00:00:00+00:00", "reason": "bad", "seeds": [1], "failures": []}
KEY = "sm_1_hush"

Ask = Callable[..., Any]

SILENCE = b""
"""An answer that never comes: the connection stays open until the client has gone."""


def answer(status: int, body: bytes, content_type: str, **headers: str) -> bytes:
    """Return the bytes of an answer; underscores in names of headers are hyphens."""
    named = {"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def document(value: Any, status: int = 200, **headers: str) -> bytes:
    """Return an answer of JSON."""
    return answer(status, json.dumps(value).encode(), "application/json", **headers)


def problem(name: str, status: int, detail: str = "so it is", **headers: str) -> bytes:
    """Return an answer that is a problem."""
    value = {"type": TYPE_PREFIX + name, "status": status, "detail": detail}
    return answer(status, json.dumps(value).encode(), MEDIA_TYPE, **headers)


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class ScriptedApi:
    """Gives the answers one after another, and then the last one for ever."""

    url: str
    answers: Sequence[bytes]
    asked: list[Asked] = field(default_factory=list)

    def serve(self, listener: socket.socket, done: threading.Event) -> None:
        """Answer until the listener is closed."""
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                self.asked.append(_read(connection))
                reply = self.answers[min(len(self.asked), len(self.answers)) - 1]
                if reply == SILENCE:
                    with suppress(OSError):
                        connection.recv(1)
                connection.sendall(reply)


def _read(connection: socket.socket) -> Asked:
    stream = connection.makefile("rb")
    method, target, _ = stream.readline().decode().split(" ")
    headers: dict[str, str] = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return Asked(method, target, headers, stream.read(int(headers.get("content-length", 0))))


@contextmanager
def scripted(*answers: bytes) -> Iterator[ScriptedApi]:
    """Serve these answers for the time of a block."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api = ScriptedApi(f"http://127.0.0.1:{listener.getsockname()[1]}", answers)
        thread = threading.Thread(target=api.serve, args=(listener, done))
        thread.start()
        try:
            yield api
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def ask_blocking(url: str, name: str, *arguments: Any, **options: Any) -> Any:
    """Make one call of the blocking client."""
    with Client(url=url, api_key=KEY) as client:
        return getattr(client, name)(*arguments, **options)


def ask_async(url: str, name: str, *arguments: Any, **options: Any) -> Any:
    """Make one call of the asyncio client."""

    async def run() -> Any:
        async with AsyncClient(url=url, api_key=KEY) as client:
            return await getattr(client, name)(*arguments, **options)

    return asyncio.run(run())
