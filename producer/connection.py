"""Connections to Redis or Valkey, and the translation of the client library's errors into ours.

Knows nothing of jobs. A URL comes in; a client, or an error that says in one line what to do, goes out.
"""

from __future__ import annotations

import asyncio
import builtins
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelPool
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from producer import sentinel
from producer.errors import QueueRefused, QueueUnreachable, SettingsError
from producer.redaction import hide_credentials, redact
from producer.redis_url import has_password, normalize_url, read_sentinels

TIMEOUT_S = 5.0
RETRIES = 3
MOST_CONNECTIONS = 64
PATIENCE_S = 20.0
"""Seconds that a command waits for a connection while all are in use."""

NO_WRITES = re.compile(
    "command not allowed when used memory"  # its memory is full
    r"|\bMISCONF\b"  # its disk is full
    "|read only replica|NOREPLICAS|Link with MASTER is down|^UNBLOCKED"  # another server is about to be the primary
    "|^BUSY "  # somebody's script holds it up
)
"""How Redis says that it takes no writes for now; some of it without a code."""

CLUSTERED = (AskError, ClusterCrossSlotError, ClusterDownError)  # MovedError is an AskError
"""What a node of a cluster says to who takes it for the whole."""


def connection_options(url: str, retries: int = RETRIES) -> dict[str, Any]:
    """Return the options of every connection: bounded waits, and ``retries`` attempts with jittered backoff.

    A server that has become a replica is left before the next attempt.
    """
    network = {} if url.startswith("unix://") else {"socket_connect_timeout": TIMEOUT_S, "socket_keepalive": True}
    return {
        **network,
        "decode_responses": True,
        "encoding_errors": "replace",  # what strangers put into the queue need not be text
        "socket_timeout": TIMEOUT_S,
        "health_check_interval": 15,
        "retry_on_error": [ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError],
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries),
    }


def connect(url: str, *, retries: int = RETRIES, decode: bool = True) -> redis.Redis:
    """Return a client, that decodes replies to text unless told otherwise; nothing is sent until it is used.

    Behind Sentinels it goes to the primary of the moment, and waits longer unless it is told not to try again.
    """
    url = normalize_url(url)
    sentinels = read_sentinels(url)
    options = {**connection_options(url, retries), "decode_responses": decode}
    with _checked_options(url):
        if sentinels:
            options["retry"] = sentinel.Patience() if retries else options["retry"]
            client = redis.Redis.from_pool(sentinel.primary_pool(sentinels, **options))
        else:
            client = redis.Redis.from_url(url, **options)
        client.connection_pool.make_connection()
    return client


def connect_async(url: str, *, most: int = MOST_CONNECTIONS) -> redis.asyncio.Redis:
    """Return an asyncio client that decodes replies to text; nothing is sent until it is used.

    It opens at most so many connections; commands beyond that wait for one.
    """
    url = normalize_url(url)
    sentinels = read_sentinels(url)
    options = connection_options(url)
    options["retry"] = AsyncRetry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), RETRIES)
    if sentinels:
        options["retry"] = sentinel.AsyncPatience()
    with _checked_options(url):
        pool: Any = (
            sentinel.primary_pool_async(sentinels, BoundedPrimaryPool, **options)
            if sentinels
            else BoundedPool.from_url(url, **options)
        )
        pool.make_connection()
    pool.places = asyncio.Semaphore(most)
    return redis.asyncio.Redis.from_pool(pool)


class Bounded(redis.asyncio.ConnectionPool):
    """Connections of which so many are in use at a time; who wants one more waits.

    The library's own pool that waits loses a wake-up when a waiter is cancelled, and others wait for nothing then.
    """

    places: asyncio.Semaphore

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection for use, when there is one.

        Raises:
            redis.exceptions.ConnectionError: none was free for PATIENCE_S, or it could not be opened.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.places.acquire()
        except builtins.TimeoutError as error:  # the other of that name is the library's
            raise ConnectionError(f"all connections were in use for {PATIENCE_S:g} s") from error
        try:
            return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
        except BaseException:
            self.places.release()
            raise

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        try:
            await super().release(connection)
        finally:
            self.places.release()


class BoundedPool(Bounded):
    """Such connections to one server."""


class BoundedPrimaryPool(Bounded, AsyncSentinelPool):
    """Such connections to the primary that Sentinels name."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections; with all of them those to the Sentinels as well."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


@contextmanager
def _checked_options(url: str) -> Iterator[None]:
    """Refuse options in a URL that no connection takes; inside, a connection is made that is never opened."""
    try:
        yield
    except Exception as error:  # the client library has no error of its own for these
        raise SettingsError(
            f"{redact(url)!r} (SEEDMILL_REDIS_URL) has an option that cannot be used: {hide_credentials(str(error))}"
        ) from error


def takes_no_writes(error: BaseException | None) -> bool:
    """Return whether ``error`` says that Redis takes no writes for now, which passes as an outage does."""
    return isinstance(error, ResponseError) and bool(NO_WRITES.search(str(error)))


def reconnect(client: redis.Redis) -> None:
    """Close the connections that are not in use, since another server may be the primary now."""
    client.connection_pool.disconnect(inuse_connections=False)


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the client library's errors into :mod:`producer.errors`; works around ``await`` as well."""
    try:
        yield
    except (AuthenticationError, AuthorizationError) as error:
        if not has_password(url):
            raise QueueRefused(
                f"Redis at {redact(url)} asks for a password, and the URL (SEEDMILL_REDIS_URL) has none: "
                "write redis://[user]:PASSWORD@host:6379/0"
            ) from error
        raise QueueRefused(
            f"Redis at {redact(url)} refused the user or password ({error}): correct the URL (SEEDMILL_REDIS_URL)"
        ) from error
    except CLUSTERED as error:
        raise QueueRefused(
            f"Redis at {redact(url)} is a cluster, over whose nodes the queue cannot be spread ({error}): use one "
            "with cluster mode disabled, or Sentinel (docs/services.md)"
        ) from error
    except (ConnectionError, TimeoutError, OSError) as error:
        raise QueueUnreachable(
            f"Redis at {redact(url)} does not answer ({error}): is it running there? "
            "If it is elsewhere, correct the URL (SEEDMILL_REDIS_URL)"
        ) from error
    except ResponseError as error:
        raise QueueRefused(f"Redis at {redact(url)} refused: {error}") from error
    except RedisError as error:
        raise QueueUnreachable(f"{redact(url)} did not answer as Redis does: {error}") from error
