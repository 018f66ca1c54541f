"""Connections to Redis or Valkey, and the translation of the client library's errors into ours.

Knows nothing of jobs. A URL comes in; a client, or an error that says in one line what to do, goes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from producer.errors import QueueRefused, QueueUnreachable, SettingsError

TIMEOUT_S = 5.0
RETRIES = 3
SCHEMES = {"valkey": "redis", "valkeys": "rediss"}


def normalize_url(url: str) -> str:
    """Return ``url`` with the scheme that the client library knows: ``valkey`` is ``redis``, ``valkeys`` is ``rediss``.

    Raises:
        SettingsError: if the URL is not one of Redis or Valkey.
    """
    scheme, _, rest = url.partition("://")
    normal = f"{SCHEMES.get(scheme, scheme)}://{rest}"
    try:
        options = redis.connection.parse_url(normal)  # type: ignore[no-untyped-call]
        path = "" if scheme == "unix" else urlsplit(normal).path
    except ValueError:
        options, path = None, ""
    if options is None or not re.fullmatch(r"(/\d*)?", path):
        hint = (
            "write redis://[user:password@]host:6379/0, or rediss:// for TLS; in a password write / ? # as %2F %3F %23"
        )
        raise SettingsError(f"SEEDMILL_REDIS_URL={redact(url)!r} is not the URL of a Redis database: {hint}")
    return normal


def redact(url: str) -> str:
    """Return ``url`` without its password and options, fit for messages and logs."""
    scheme, _, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    place = place.partition("?")[0]
    if not at:
        return f"{scheme}://{place}"
    return f"{scheme}://{user.partition(':')[0]}:***@{place}"


def hide_credentials(text: str) -> str:
    """Return ``text`` without the passwords of the URLs in it."""
    return re.sub(r"(\w+://[^\s/:@]*):[^\s@]*@", r"\1:***@", text)


def connection_options(url: str, retries: int = RETRIES) -> dict[str, Any]:
    """Return the options of every connection: bounded waits, and ``retries`` attempts with jittered backoff."""
    network = {} if url.startswith("unix://") else {"socket_connect_timeout": TIMEOUT_S, "socket_keepalive": True}
    return {
        **network,
        "decode_responses": True,
        "socket_timeout": TIMEOUT_S,
        "health_check_interval": 15,
        "retry_on_error": [ConnectionError, TimeoutError, BusyLoadingError],
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries),
    }


def connect(url: str, *, retries: int = RETRIES) -> redis.Redis:
    """Return a client that decodes replies to text; nothing is sent until it is used."""
    url = normalize_url(url)
    client = redis.Redis.from_url(url, **connection_options(url, retries))
    _check_options(url, client.connection_pool.make_connection)
    return client


def connect_async(url: str) -> redis.asyncio.Redis:
    """Return an asyncio client that decodes replies to text; nothing is sent until it is used."""
    url = normalize_url(url)
    options = connection_options(url)
    options["retry"] = AsyncRetry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), RETRIES)
    client = redis.asyncio.Redis.from_url(url, **options)
    _check_options(url, client.connection_pool.make_connection)
    return client


def _check_options(url: str, make_connection: Callable[[], object]) -> None:
    """Refuse options in a URL that no connection takes, by making one that is never opened."""
    try:
        make_connection()
    except TypeError as error:
        raise SettingsError(f"SEEDMILL_REDIS_URL={redact(url)!r} has an option that is not known: {error}") from error


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the client library's errors into :mod:`producer.errors`; works around ``await`` as well."""
    try:
        yield
    except (AuthenticationError, AuthorizationError) as error:
        raise QueueRefused(
            f"Redis at {redact(url)} refused the user or password ({error}): correct SEEDMILL_REDIS_URL or --redis-url"
        ) from error
    except (ConnectionError, TimeoutError, OSError) as error:
        raise QueueUnreachable(
            f"Redis at {redact(url)} does not answer ({error}): is it running there? "
            "If it is elsewhere, correct SEEDMILL_REDIS_URL or --redis-url"
        ) from error
    except ResponseError as error:
        raise QueueRefused(f"Redis at {redact(url)} refused: {error}") from error
    except RedisError as error:
        raise QueueUnreachable(f"{redact(url)} did not answer as Redis does: {error}") from error
