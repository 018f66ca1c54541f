"""URLs of the queue's server: which there are, and what they mean. Nothing is sent.

A URL names a Redis or Valkey, or the Sentinels that know which of several is the primary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import redis

from producer.errors import SettingsError
from producer.redaction import redact

SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
SENTINEL_SCHEMES = {"sentinel": "redis", "sentinels": "rediss"}
"""Schemes of Sentinels, and those of the servers that they watch."""

RABBITMQ_SCHEMES = {"amqp", "amqps", "pyamqp"}
SENTINEL_PORT = 26379
URL_OPTIONS = {
    *("db", "username", "password", "protocol"),
    *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"),
}
"""Options that a URL may carry after its ``?``."""

SENTINEL_OPTIONS = {"service_name", "sentinel_username", "sentinel_password"}
"""Options that a URL of Sentinels may carry beside these."""

HINT = "write redis://[user:password@]host:6379/0, or rediss:// for TLS; in a password write / ? # as %2F %3F %23"
SENTINEL_HINT = "write sentinel://[user:password@]host1:26379,host2:26379,host3:26379/0?service_name=NAME"
RABBITMQ_HINT = (
    "is RabbitMQ, which cannot keep the record of what each worker holds: name a Redis or Valkey here; apps whose "
    "broker is RabbitMQ enqueue by producer.Client or the HTTP API (docs/services.md)"
)


@dataclass(frozen=True, slots=True)
class Sentinels:
    """What a URL of Sentinels says.

    ``url`` is that of the primary but for its host and port, in whose place it has those of the first Sentinel.
    """

    hosts: tuple[tuple[str, int], ...]
    service_name: str
    url: str
    credentials: dict[str, str] = field(repr=False)
    """User and password by which the Sentinels themselves are asked."""

    def primary_url(self, host: str, port: int) -> str:
        """Return the URL of the primary, once it is known where that is."""
        parts = urlsplit(self.url)
        credentials, at, _ = parts.netloc.rpartition("@")
        shown = f"[{host}]" if ":" in host else host
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}{shown}:{port}"))


def normalize_url(url: str) -> str:
    """Return ``url`` with the scheme that the client library knows: ``valkey`` is ``redis``, ``valkeys`` is ``rediss``.

    A URL of Sentinels stays as it is: see :func:`read_sentinels`.

    Raises:
        SettingsError: if the URL is not one of Redis or Valkey.
    """
    if read_sentinels(url):
        return url
    scheme, _, rest = url.partition("://")
    if scheme in RABBITMQ_SCHEMES:
        raise SettingsError(f"{_shown(url)} {RABBITMQ_HINT}")
    normal = f"{SCHEMES.get(scheme, scheme)}://{rest}"
    if not _is_usable(normal):
        raise SettingsError(f"{_shown(url)} is not the URL of a Redis database: {HINT}")
    _check_options(url, URL_OPTIONS)
    return normal


def read_sentinels(url: str) -> Sentinels | None:
    """Return what a URL of Sentinels says; ``None`` for a URL of another kind.

    Raises:
        SettingsError: it is one, but cannot be used.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SENTINEL_SCHEMES:
        return None
    end = next((at for at, letter in enumerate(rest) if letter in "/?#"), len(rest))
    credentials, at, places = rest[:end].rpartition("@")
    whole = f"{SENTINEL_SCHEMES[scheme]}://{credentials}{at}{places.partition(',')[0]}{rest[end:]}"
    try:
        hosts, parts = tuple(_place(place) for place in places.split(",")), urlsplit(whole)
    except ValueError as error:
        raise SettingsError(f"{_shown(url)} does not name Sentinels ({error}): {SENTINEL_HINT}") from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    service_name, *own = (options.pop(name, "") for name in ("service_name", "sentinel_username", "sentinel_password"))
    primary = urlunsplit(parts._replace(query=urlencode(options, safe="/")))
    if not (service_name and _is_usable(primary)):
        raise SettingsError(f"{_shown(url)} does not say what its Sentinels watch: {SENTINEL_HINT}")
    _check_options(whole, URL_OPTIONS | SENTINEL_OPTIONS)
    named = {name: text for name, text in zip(("username", "password"), own, strict=True) if text}
    return Sentinels(hosts, service_name, primary, named)


def has_password(url: str) -> bool:
    """Return whether there is a password in ``url``, be it empty in truth or wrong."""
    parts = urlsplit(url)
    return parts.password is not None or "password" in parse_qs(parts.query)


def _shown(url: str) -> str:
    return f"{redact(url)!r} (SEEDMILL_REDIS_URL)"


def _is_usable(url: str) -> bool:
    """Return whether the client library takes the URL, and takes all of it."""
    try:
        redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
    except ValueError:
        return False
    return parts.scheme == "unix" or bool(re.fullmatch(r"(/\d*)?", parts.path))


def _check_options(url: str, known: set[str]) -> None:
    if unknown := sorted(set(parse_qs(urlsplit(url).query, keep_blank_values=True)) - known):
        raise SettingsError(f"{_shown(url)} has the unknown option {unknown[0]!r}: use {', '.join(sorted(known))}")


def _place(text: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        ValueError: there is no host, or the port is none.
    """
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"no host in {text!r}")
    return parts.hostname, parts.port or SENTINEL_PORT
