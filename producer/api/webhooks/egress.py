"""The way out of webhooks: one POST to an address that was judged, and its status; redirects are not followed.

A name is resolved once, each of its addresses has to be permitted, and the connection is made to one of those, so that
another answer of the resolver afterwards changes nothing; the certificate is verified for the name. httpcore knows no
proxies of the environment, no cookies and no redirects. Nothing of what a receiver answers but its status and
``Retry-After`` goes any further.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore2

from producer.api.webhooks.addresses import Address, Allowed
from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.urls import Target
from producer.errors import SettingsError

CONNECT_S = 5.0
TOTAL_S = 10.0
DRAIN_S = 1.0
"""For how long the rest of an answer is read, whose status is known; a receiver that is cut off may take it ill."""

MAX_ANSWER_BYTES = 64 * 1024
MAX_ADDRESSES = 4
"""Addresses of a host that are tried."""

RESOLVERS = 32
"""Threads that wait for the resolver: apart from those of all else, since names can be made to take long."""

Resolve = Callable[[str, int], Awaitable[list[str]]]


class AddressRefused(Exception):
    """A host has an address that webhooks are not sent to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered: its status, and the seconds after which it wants to be asked again, if it says so."""

    status: int
    retry_after_s: float | None = None


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to permitted addresses alone, and closes in the end whatever it has connected.

    Args:
        allowed: who need not be public.
        resolve: tells the addresses of a host.
    """

    def __init__(self, allowed: Allowed, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()
        self._streams: list[httpcore2.AsyncNetworkStream] = []

    async def aclose(self) -> None:
        """Close the connections, also those that httpcore forgets when it is cancelled during the TLS handshake."""
        for stream in self._streams:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that answers.

        Raises:
            AddressRefused: one of its addresses is not permitted.
        """
        addresses = (await self._permitted(host, port))[:MAX_ADDRESSES]
        each_s = CONNECT_S if timeout is None else timeout / len(addresses)
        failed: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(str(address), port, each_s, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
            else:
                self._streams.append(stream)
                return stream
        raise failed

    async def _permitted(self, host: str, port: int) -> list[Address]:
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the address of {host} is not known: {error}") from error
        addresses = [ipaddress.ip_address(text) for text in dict.fromkeys(found)]
        for address in addresses:
            if not self._allowed.permits(host, address):
                raise AddressRefused(f"{host} has the address {address}, which is not public")
        if not addresses:
            raise httpcore2.ConnectError(f"{host} has no address")
        return addresses


class Egress:
    """Sends webhooks; the same for all of them, while each has a connection of its own.

    Args:
        settings: who need not be public, and which authorities are trusted besides those of the system.
        resolve: tells the addresses of a host; without it, the system's resolver.
        total_s: seconds from the resolving to the status.

    Raises:
        SettingsError: the file of authorities cannot be used.
    """

    def __init__(self, settings: WebhookSettings, *, resolve: Resolve | None = None, total_s: float = TOTAL_S) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")
        self._allowed = settings.webhook_receivers
        self._resolve = resolve or self._ask_resolver
        self._tls = _trust(settings)
        self._total_s = total_s

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a body and return the status of the answer, whatever it is.

        Raises:
            AddressRefused: the host has an address that is not permitted.
            TimeoutError, httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError: no answer came.
        """
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        fixed = {"host": target.authority, "content-length": str(len(body)), "connection": "close", "accept": "*/*"}
        request = httpcore2.Request(
            "POST",
            url,
            headers=list({**fixed, **headers}.items()),
            content=body,
            extensions={"timeout": {"connect": min(CONNECT_S, self._total_s)}},
        )
        async with (
            contextlib.aclosing(GuardedBackend(self._allowed, self._resolve)) as network,
            httpcore2.AsyncConnectionPool(ssl_context=self._tls, network_backend=network) as pool,
        ):
            async with asyncio.timeout(self._total_s):
                response = await pool.handle_async_request(request)
            await _drain(response)
            return Answer(response.status, _retry_after_s(response))

    async def _ask_resolver(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
        return [str(place[0]) for *_, place in found]


def _trust(settings: WebhookSettings) -> ssl.SSLContext:
    context = httpcore2.default_ssl_context()
    if (path := settings.webhook_ca_file) is not None:
        try:
            context.load_verify_locations(path)
        except OSError as error:  # that of TLS is one too
            raise SettingsError(
                f"SEEDMILL_WEBHOOK_CA_FILE={str(path)!r}: no certificates can be read from it ({error})"
            ) from error
    return context


async def _drain(response: httpcore2.Response) -> None:
    """Read some of an answer and close its connection; its status counts whatever becomes of this."""
    with contextlib.suppress(TimeoutError, httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError):
        try:
            async with asyncio.timeout(DRAIN_S):
                size = 0
                async for part in response.aiter_stream():
                    size += len(part)
                    if size > MAX_ANSWER_BYTES:
                        break
        finally:
            await response.aclose()


def _retry_after_s(response: httpcore2.Response) -> float | None:
    for name, value in response.headers:
        if name.lower() == b"retry-after":
            return read_retry_after(value.decode("latin-1").strip(), datetime.now(UTC))
    return None


def read_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` says, as a number or a date; ``None`` for anything else."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
        return max(0.0, (moment - now).total_seconds()) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
