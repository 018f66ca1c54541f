"""Connections to Redis or Valkey, and the translation of the client library's errors into ours.

Knows nothing of jobs. A URL comes in; a client, or an error that says in one line what to do, goes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
        redis.connection.parse_url(normal)  # type: ignore[no-untyped-call]
    except ValueError as error:
        hint = "write redis://host:6379/0, or rediss:// for TLS"
        raise SettingsError(f"SEEDMILL_REDIS_URL={redact(url)!r} cannot be used ({error}): {hint}") from error
    return normal


def redact(url: str) -> str:
    """Return ``url`` without its password, fit for messages and logs."""
    head, at, host = url.rpartition("@")
    if not at:
        return url
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}:***@{host}"


def connection_options(retries: int = RETRIES) -> dict[str, Any]:
    """Return the options of every connection: bounded waits, and ``retries`` attempts with jittered backoff."""
    return {
        "decode_responses": True,
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry_on_error": [ConnectionError, TimeoutError, BusyLoadingError],
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries),
    }


def connect(url: str, *, retries: int = RETRIES) -> redis.Redis:
    """Return a client that decodes replies to text; nothing is sent until it is used."""
    return redis.Redis.from_url(normalize_url(url), **connection_options(retries))


def connect_async(url: str) -> redis.asyncio.Redis:
    """Return an asyncio client that decodes replies to text; nothing is sent until it is used."""
    options = connection_options()
    options["retry"] = AsyncRetry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), RETRIES)
    return redis.asyncio.Redis.from_url(normalize_url(url), **options)


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
