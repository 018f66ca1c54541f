"""Clients of whichever server is the primary now: Sentinels are asked before each connection, and every second after.

The latter since Sentinels leave an old primary that lives to itself for ten seconds, and it forgets what it takes
meanwhile. Knows nothing of jobs, and opens nothing before it is used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import redis
import redis.asyncio
from redis.asyncio import sentinel as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from producer.redis_url import Sentinels

TIMEOUT_S = 1.0
"""Seconds that one Sentinel has to answer before the next is asked."""

PATIENCE_S, LONGEST_PAUSE_S = 15.0, 2.0
"""Seconds for which a command is tried again, that failovers fit in, and the longest pause between two attempts."""

MOST_RETRIES = 1000
"""More attempts than there is time for."""

LOOK_S = 1.0
"""Seconds after which a connection that is used asks again whether its server is the primary."""

SPARED_S = 10.0
"""The same after a look that was in vain and took longer than that, as where no Sentinel answers."""


class Look:
    """When a connection asks again where the primary is."""

    _next_look = 0.0

    def _is_due(self) -> bool:
        return time.monotonic() >= self._next_look

    def _note_look(self, began: float, *, was_in_vain: bool = False) -> None:
        now = time.monotonic()
        self._next_look = now + (SPARED_S if was_in_vain and now - began >= LOOK_S else LOOK_S)


class Watching(Look, SentinelManagedConnection):
    """A connection to the primary that is left when that is another."""

    def connect_to(self, address: tuple[str, int]) -> None:
        """Connect to the primary, as it was just found."""
        self._note_look(time.monotonic())
        super().connect_to(address)  # type: ignore[no-untyped-call]

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connect; between two attempts of a command the library would go where it was before, without asking."""
        if retry_socket_connect:
            self.connect_to(self.connection_pool.get_master_address())
        else:
            super().connect_check_health(check_health, retry_socket_connect)

    def check_health(self) -> None:
        """Look, before a command, whether the primary is another; a Sentinel that does not know says nothing."""
        if self._is_due():
            found, began = None, time.monotonic()
            with suppress(ConnectionError, TimeoutError):
                found = self.connection_pool.get_master_address()
            self._note_look(began, was_in_vain=found is None)
            if found not in (None, (self.host, self.port)):
                self.disconnect()  # type: ignore[no-untyped-call]
                raise ConnectionError("another server is the primary now")
        super().check_health()  # type: ignore[no-untyped-call]


class WatchingTLS(Watching, SentinelManagedSSLConnection):
    """The same over TLS."""


class AsyncWatching(Look, asynchronous.SentinelManagedConnection):
    """An asyncio connection to the primary that is left when that is another."""

    async def connect_to(self, address: tuple[str, int]) -> None:
        """Connect to the primary, as it was just found."""
        self._note_look(time.monotonic())
        await super().connect_to(address)  # type: ignore[no-untyped-call]

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connect; see :meth:`Watching.connect_check_health`."""
        if retry_socket_connect:
            await self.connect_to(await self.connection_pool.get_master_address())
        else:
            await super().connect_check_health(check_health, retry_socket_connect)

    async def check_health(self) -> None:
        """Look, before a command, whether the primary is another; see :meth:`Watching.check_health`."""
        if self._is_due():
            found, began = None, time.monotonic()
            with suppress(ConnectionError, TimeoutError):
                found = await self.connection_pool.get_master_address()
            self._note_look(began, was_in_vain=found is None)
            if found not in (None, (self.host, self.port)):
                await self.disconnect()
                raise ConnectionError("another server is the primary now")
        await super().check_health()  # type: ignore[no-untyped-call]


class AsyncWatchingTLS(AsyncWatching, asynchronous.SentinelManagedSSLConnection):
    """The same over TLS."""


class Asked(Sentinel):
    """The Sentinels; an error of theirs is one line, without what the library says of its own objects."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return where the primary is."""
        try:
            return super().discover_master(service_name)  # type: ignore[no-any-return,no-untyped-call]
        except ConnectionError as error:
            raise _nobody_knows(service_name, error) from None

    def close(self) -> None:
        """Close the connections, which not every version of the library does."""
        for one in self.sentinels:
            one.close()


class AsyncAsked(asynchronous.Sentinel):
    """The Sentinels, asked by asyncio."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return where the primary is."""
        try:
            return await super().discover_master(service_name)  # type: ignore[no-any-return]
        except ConnectionError as error:
            raise _nobody_knows(service_name, error) from None

    async def aclose(self) -> None:
        """Close the connections, which not every version of the library does."""
        for one in self.sentinels:
            await one.aclose()


def _nobody_knows(service_name: str, error: ConnectionError) -> ConnectionError:
    reasons = ", ".join(sorted(set(re.findall(r"> - ([\w:.]+)", str(error)))))
    return ConnectionError(f"no Sentinel names a living primary {service_name!r}{reasons and f': {reasons}'}")


class Patience(Retry):
    """How a command is tried again while there is no primary: until it took so long, however long an attempt takes."""

    def __init__(self) -> None:
        super().__init__(_pauses(), MOST_RETRIES)

    def call_with_retry(self, do: Any, fail: Callable[..., Any], *rest: Any, **options: Any) -> Any:
        """Call, and again after errors, of which ``fail`` is told first, as with the library's own."""
        end = time.monotonic() + PATIENCE_S

        def fail_in_time(error: Exception, *count: int) -> None:
            fail(error, *count)
            if time.monotonic() >= end:
                raise error

        return super().call_with_retry(do, fail_in_time, *rest, **options)


class AsyncPatience(AsyncRetry):
    """The same for asyncio."""

    def __init__(self) -> None:
        super().__init__(_pauses(), MOST_RETRIES)

    async def call_with_retry(self, do: Any, fail: Callable[..., Any], *rest: Any, **options: Any) -> Any:
        """Call, and again after errors; see :meth:`Patience.call_with_retry`."""
        end = time.monotonic() + PATIENCE_S

        async def fail_in_time(error: Exception, *count: int) -> None:
            await fail(error, *count)
            if time.monotonic() >= end:
                raise error

        return await super().call_with_retry(do, fail_in_time, *rest, **options)


def _pauses() -> ExponentialWithJitterBackoff:
    return ExponentialWithJitterBackoff(base=0.05, cap=LONGEST_PAUSE_S)


def primary_pool(sentinels: Sentinels, **options: Any) -> Any:
    """Return connections to the primary; ``options`` are those of each."""
    said, is_tls = _connecting(sentinels)
    named = {"connection_class": WatchingTLS if is_tls else Watching, **said, **options}
    return _manager(sentinels).master_for(sentinels.service_name, **named).connection_pool


def primary_pool_async(
    sentinels: Sentinels, pool_class: type[asynchronous.SentinelConnectionPool], **options: Any
) -> asynchronous.SentinelConnectionPool:
    """Return asyncio connections to the primary; ``options`` are those of each."""
    manager = AsyncAsked(sentinels.hosts, sentinel_kwargs=_asking(sentinels, AsyncRetry))  # type: ignore[no-untyped-call]
    said, is_tls = _connecting(sentinels)
    named = {"connection_class": AsyncWatchingTLS if is_tls else AsyncWatching, **said, **options}
    return pool_class(sentinels.service_name, manager, **named)


def primary_url(sentinels: Sentinels) -> str:
    """Ask where the primary is, and return its URL.

    Raises:
        redis.ConnectionError: no Sentinel knows a primary that lives.
    """
    with closing(_manager(sentinels)) as manager:
        return sentinels.primary_url(*manager.discover_master(sentinels.service_name))


def _manager(sentinels: Sentinels) -> Any:
    return Asked(sentinels.hosts, sentinel_kwargs=_asking(sentinels, Retry))  # type: ignore[no-untyped-call]


def _connecting(sentinels: Sentinels) -> tuple[dict[str, Any], bool]:
    """Return what the URL says of each connection to the primary, and whether that is over TLS."""
    said: dict[str, Any] = redis.connection.parse_url(sentinels.url)  # type: ignore[no-untyped-call]
    is_tls = said.pop("connection_class", None) is not None
    return {name: value for name, value in said.items() if name not in ("host", "port")}, is_tls


def _asking(sentinels: Sentinels, retry: type[Any]) -> dict[str, Any]:
    """Return the options of connections to the Sentinels, each of which is asked once: there are others."""
    said, is_tls = _connecting(sentinels)
    of_tls = {name: value for name, value in said.items() if name.startswith("ssl_")}
    waits = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    return {**waits, **of_tls, **sentinels.credentials, "ssl": is_tls, "retry": retry(NoBackoff(), 0)}
