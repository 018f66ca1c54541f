"""What a connection may take before it is closed, over real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from producer.api import protocol
from tests.integration.api import api_settings, serving
from worker.local.stack import Endpoints

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture
def address(quiet: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    monkeypatch.setattr(protocol, "BODY_S", 0.3)
    with serving(api_settings(quiet)) as url:
        yield "127.0.0.1", int(url.rpartition(":")[2])


@contextmanager
def connection(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=5) as open_:
        yield open_


def read_all(open_: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    parts = []
    with suppress(ConnectionResetError):  # where not all that was sent had been read
        while part := open_.recv(65536):
            parts.append(part)
    return b"".join(parts)


def answered(open_: socket.socket) -> bool:
    """Whether one request is answered in full."""
    text = b""
    while b'{"status":"ok"}' not in text:
        text += open_.recv(65536)
    return text.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET", GET, POST, POST + b"{"])
def test_who_begins_and_does_not_go_on_is_closed(address: tuple[str, int], sent: bytes) -> None:
    with connection(address) as open_:
        open_.sendall(sent)
        began = time.monotonic()
        assert read_all(open_) == b""
        assert time.monotonic() - began < 4  # seconds; the connection itself gives up after five


@pytest.mark.parametrize("drop", [b"X: y\r\n", b"\r\n"])
def test_headers_that_come_drop_by_drop_are_not_waited_for(address: tuple[str, int], drop: bytes) -> None:
    with connection(address) as open_:
        open_.sendall(GET + b"\r\n")
        assert answered(open_)
        open_.sendall(GET if drop != b"\r\n" else drop)
        open_.settimeout(0.05)
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012  # whichever comes first
            while True:
                open_.sendall(drop)
                try:
                    if open_.recv(1) == b"":
                        raise ConnectionResetError("reset")
                except TimeoutError:
                    assert time.monotonic() - began < 4  # seconds; the connection itself gives up after five


def test_headers_without_end_are_refused(address: tuple[str, int]) -> None:
    with connection(address) as open_:
        open_.sendall(GET + b"X: " + b"y" * 60_000 + b"\r\n\r\n")
        assert answered(open_)
        open_.sendall(GET + b"X: " + b"y" * 120_000)
        assert read_all(open_) in (protocol.TOO_LARGE, b"")


def test_requests_that_follow_each_other_are_answered_whatever_they_carry(address: tuple[str, int]) -> None:
    body = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    with connection(address) as open_:
        for _ in range(3):
            open_.sendall(body + GET + b"\r\n")
            assert not answered(open_)
        open_.sendall((GET + b"\r\n") * 3 + GET.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"\r\n")
        assert read_all(open_).count(b'{"status":"ok"}') == 4


def test_beyond_a_number_of_connections_further_ones_are_refused(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 1)
    with connection(address) as first, connection(address) as second:
        assert read_all(second).startswith(b"HTTP/1.1 503 ")
        first.sendall(GET + b"\r\n")
        assert answered(first)
