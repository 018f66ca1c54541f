"""Whether Redis lets in anyone: a worker trusts what is in the queue, so it serves an open one on trusted hosts alone.

The server is asked, not the URL: where a connection without user and password is answered, anyone's is.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit, urlunsplit

import redis

from producer.connection import connect, normalize_url
from producer.errors import SettingsError
from producer.redaction import redact

ANY = "*"
CERTIFICATE = "ssl_certfile"
"""Who has to show a certificate is let in by that."""

CREDENTIALS = {"username", "password"}


def check_access(url: str, trusted: str) -> None:
    """Refuse a Redis that anyone may use, unless it is on this machine or its host is among the ``trusted``.

    Args:
        url: of Redis; it answers.
        trusted: hosts between commas; ``*`` is any.

    Raises:
        SettingsError: saying what to do.
    """
    parts = urlsplit(normalize_url(url))
    host = (parts.hostname or "localhost").lower()
    options = parse_qs(parts.query)
    names = trusted.split(",")
    if parts.scheme == "unix" or CERTIFICATE in options or host in names or ANY in names or _is_here(host):
        return
    place = parts.netloc.rpartition("@")[2]
    query = "&".join(part for part in parts.query.split("&") if part.partition("=")[0] not in CREDENTIALS)
    if _answers_anyone(urlunsplit(parts._replace(netloc=place, query=query))):
        raise SettingsError(
            f"Redis at {redact(url)} lets in anyone without a password, and {host} is not this machine: who reaches it "
            "can read, forge and delete jobs. Set a password there (requirepass, or an ACL without an open default "
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


def _answers_anyone(url: str) -> bool:
    client = connect(url)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        with suppress(redis.RedisError):
            client.close()
