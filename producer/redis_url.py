"""URLs of the queue's server: which there are, and what they mean. Nothing is sent.

A URL names a Redis or Valkey, or the Sentinels that know which of several is the primary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

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

PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[\w.-]*)(:[0-9]+)?")
"""One host, or an IPv6 address in brackets, and its port."""

PATH = re.compile(r"(/[0-9]*)?")
"""The path of a URL, which is the database."""

BLANK = re.compile(r"[\s\x00-\x20\x7f]")
"""What no part of a URL has, and the standard library removes from it without a word."""

ESCAPES = "in a password write / ? # @ and blanks as %2F %3F %23 %40 %20"
HINT = f"write redis://[user:password@]host:6379/0, rediss:// for TLS, or unix:///path; {ESCAPES}"
SENTINEL_HINT = f"write sentinel://[user:password@]host1:26379,host2:26379,host3:26379/0?service_name=NAME; {ESCAPES}"
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
    url: str = field(repr=False)
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
    _check_options(url, urlsplit(normal), URL_OPTIONS)
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
        hosts, parts = tuple(_sentinel(place) for place in places.split(",")), urlsplit(whole)
    except ValueError:
        hosts = ()
    if not hosts or "@" in credentials:  # the error would show the rest of a password as a port
        raise SettingsError(f"{_shown(url)} does not name Sentinels: {SENTINEL_HINT}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    service_name, *own = (options.pop(name, "") for name in ("service_name", "sentinel_username", "sentinel_password"))
    primary = urlunsplit(parts._replace(query=urlencode(options, safe="/")))
    if not (service_name and not BLANK.search(service_name) and _is_usable(whole)):
        raise SettingsError(f"{_shown(url)} does not say what its Sentinels watch: {SENTINEL_HINT}")
    _check_options(url, urlsplit(whole), URL_OPTIONS | SENTINEL_OPTIONS)
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
    if BLANK.search(url) or "#" in url:
        return False
    try:
        redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        _place(place)
    except ValueError:
        return False
    if "@" in parts.query:  # more likely of a password before it
        return False
    return (not place and len(parts.path) > 1) if parts.scheme == "unix" else bool(PATH.fullmatch(parts.path))


def _check_options(url: str, parts: SplitResult, known: set[str]) -> None:
    """Refuse options that are unknown, or of which clients and Celery would each take another."""
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if unknown := sorted(set(names) - known):
        raise SettingsError(f"{_shown(url)} has the unknown option {unknown[0]!r}: use {', '.join(sorted(known))}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"{_shown(url)} has the option {twice[0]!r} more than once: give it once")
    if "@" in parts.netloc and (mixed := [name for name in names if name in ("username", "password")]):
        raise SettingsError(
            f"{_shown(url)} has a user or password before the @ and the option {mixed[0]!r}: give both in one way"
        )


def _place(text: str) -> tuple[str, int | None]:
    """Return host and port, as far as ``text`` has them.

    Raises:
        ValueError: it is something else.
    """
    parts = urlsplit(f"//{text}")
    if not PLACE.fullmatch(text) or parts.port == 0:
        raise ValueError("not a host and a port")
    (parts.hostname or "").encode("idna")
    return parts.hostname or "", parts.port


def _sentinel(text: str) -> tuple[str, int]:
    host, port = _place(text)
    if not host:
        raise ValueError("no host")
    return host, port or SENTINEL_PORT
