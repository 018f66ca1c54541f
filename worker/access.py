"""Whether Redis is one that a worker can serve: it keeps all keys in one place, and does not let in just anyone.

A worker trusts what is in the queue, so it serves an open one on trusted hosts alone. The server is asked, not the URL:
where a connection without password and certificate is shown the queue, anyone is.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import redis
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError

from producer.connection import connection_options, translated
from producer.contract import LANES, QUEUE
from producer.errors import SettingsError
from producer.redaction import redact
from producer.redis_url import normalize_url, read_sentinels
from producer.sentinel import primary_url

ANY = "*"
CERTIFICATE = "ssl_certfile"
OF_OURS = {"username", "password", CERTIFICATE, "ssl_keyfile"}
"""Options of a URL that strangers do not have."""

REFUSED = re.compile("NOAUTH|WRONGPASS|NOPERM|DENIED")
"""How Redis begins when it does not let somebody in; the last in its protected mode."""


def check_whole(client: redis.Redis) -> None:
    """Reach Redis, and see that a script may use several keys; a cluster, or a proxy in front of one, refuses that.

    Raises:
        redis.RedisError: it does, or it does not answer.
    """
    client.eval("return 0", len(LANES), *LANES)


def check_access(url: str, trusted: str) -> None:
    """Refuse a Redis that anyone may use, unless it is on this machine or its host is among the ``trusted``.

    Args:
        url: of Redis; it answers.
        trusted: hosts between commas; ``*`` is any.

    Raises:
        SettingsError: saying what to do.
    """
    with translated(url):
        sentinels = read_sentinels(url)
        parts = urlsplit(primary_url(sentinels) if sentinels else normalize_url(url))
    host = (parts.hostname or "localhost").lower()
    names = trusted.split(",")
    if parts.scheme == "unix" or host in names or ANY in names or _is_here(host):
        return
    options = parse_qs(parts.query)
    query = urlencode([(name, text) for name, texts in options.items() if name not in OF_OURS for text in texts])
    stranger = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query))
    with translated(url):
        is_open = _answers(stranger, with_certificate=CERTIFICATE in options)
    if is_open:
        raise SettingsError(
            f"Redis at {redact(url)} lets in anyone without a password, and {host} is no loopback address: who reaches "
            "it can read, forge and delete jobs. Set a password there (requirepass, or an ACL without an open default "
            "user) and put it into SEEDMILL_REDIS_URL; or, if nobody else is on that network, set "
            f"SEEDMILL_REDIS_TRUSTED_HOSTS={host}"
        )


def _is_here(host: str) -> bool:
    """Return whether all addresses of a host are this machine's own loopback."""
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _answers(url: str, *, with_certificate: bool) -> bool:
    """Return whether the queue is shown to somebody who has neither password nor certificate.

    Raises:
        redis.ConnectionError, redis.TimeoutError: that cannot be told; where a certificate is demanded, a broken
            connection is how the server says no.
    """
    options = {**connection_options(url), "health_check_interval": 0}  # which would be a PING
    client: Any = redis.Redis.from_url(url, **options)
    try:
        client.llen(QUEUE)
    except (AuthenticationError, AuthorizationError, NoPermissionError):
        return False
    except redis.ResponseError as error:
        return not REFUSED.match(str(error))
    except redis.ConnectionError as error:
        if not (with_certificate or REFUSED.match(str(error))):
            raise
        return False
    finally:
        with suppress(redis.RedisError):
            client.close()
    return True
