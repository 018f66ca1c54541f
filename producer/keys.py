"""API keys: how they are made, what of them is kept in Redis, and how one that is shown is checked.

Only hashes are kept, so a key is readable once, when it is made. Who asks for what with it is not known here
(producer/api/access.py).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from producer.connection import connect, translated
from producer.contract import API_KEYS_KEY
from producer.errors import ApiKeyNotFound, SettingsError
from producer.seeds import shorten
from producer.settings import ProducerSettings

KEY = re.compile(r"sm_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")
"""The text of a key: its id, which is no secret, and 32 random bytes."""

ID_CHARACTERS = string.ascii_lowercase + string.digits
ID_LENGTH = 12
SECRET_BYTES = 32
TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_NAME_CHARACTERS = 100
MAX_RATE = 1_000_000
MAX_EXPIRES_DAYS = 36_500
NO_HASH = "0" * 64
"""Compared with what is shown under an id that nobody has."""


class Scope(StrEnum):
    """What a key lets its holder do."""

    SUBMIT = "submit"
    """Make jobs and cancel them."""
    READ = "read"
    """Read jobs, results and pictures."""
    ADMIN = "admin"
    """Everything, with the jobs of all tenants."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key.

    ``tenant`` is who jobs belong to; several keys may have one. ``rate`` are the requests that the key may make in a
    minute, 0 for no limit, and ``share`` is the part of the queue that its tenant may fill, from 0 to 1; ``None`` for
    the API's default. Times are ISO 8601 in UTC; without ``expires_at`` it is good until it is revoked.
    """

    id: str
    sha256: str
    name: str
    tenant: str
    scopes: frozenset[Scope]
    created_at: str
    rate: int | None = None
    share: float | None = None
    expires_at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what may be shown of the key as JSON-ready values."""
        return {
            "id": self.id,
            "name": self.name,
            "tenant": self.tenant,
            "scopes": [str(scope) for scope in Scope if scope in self.scopes],
            "rate": self.rate,
            "share": self.share,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
        }

    def encode(self) -> str:
        """Return the key as it is stored under its id."""
        return json.dumps({**self.to_dict(), "sha256": self.sha256}, separators=(",", ":"))

    @classmethod
    def decode(cls, key_id: str, text: str) -> ApiKey | None:
        """Read what :meth:`encode` wrote; ``None`` for anything else, which lets nobody in.

        Scopes and members of a newer release are ignored.
        """
        try:
            data = json.loads(text)
            return cls(
                id=_text(key_id, "[a-z0-9]{12}"),
                sha256=_text(data["sha256"], "[0-9a-f]{64}"),
                name=_text(data["name"], ".+"),
                tenant=_text(data["tenant"], TENANT),
                scopes=frozenset(scope for scope in Scope if scope in list(data["scopes"])),
                created_at=_time(data["created_at"]),
                rate=None if data.get("rate") is None else check_rate(data["rate"]),
                share=None if data.get("share") is None else check_share(data["share"]),
                expires_at=None if data.get("expires_at") is None else _time(data["expires_at"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def is_expired(self, now: datetime) -> bool:
        """Whether the key is good no more."""
        return self.expires_at is not None and now >= datetime.fromisoformat(self.expires_at)


def make_key(
    name: str,
    *,
    scopes: Collection[Scope] = (Scope.SUBMIT, Scope.READ),
    tenant: str | None = None,
    rate: int | None = None,
    share: float | None = None,
    expires_days: int | None = None,
) -> tuple[str, ApiKey]:
    """Return the text of a new key, which is known here alone, and what is to be kept of it.

    Without a tenant, the key is one of its own.

    Raises:
        SettingsError: naming the value that cannot be used.
    """
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise SettingsError(f"name={shorten(name)}: use 1 to {MAX_NAME_CHARACTERS} printable characters")
    if tenant is not None and not TENANT.fullmatch(tenant):
        raise SettingsError(f"tenant={shorten(tenant)}: use 1 to 64 letters, digits, '-' and '_'")
    if expires_days is not None and not 0 < expires_days <= MAX_EXPIRES_DAYS:
        raise SettingsError(f"expires_days={shorten(expires_days)}: use 1 to {MAX_EXPIRES_DAYS}")
    key_id = "".join(secrets.choice(ID_CHARACTERS) for _ in range(ID_LENGTH))
    text = f"sm_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    now = datetime.now(UTC).replace(microsecond=0)
    return text, ApiKey(
        id=key_id,
        sha256=hash_of(text),
        name=name,
        tenant=tenant or key_id,
        scopes=frozenset(scopes),
        created_at=now.isoformat(),
        rate=None if rate is None else check_rate(rate),
        share=None if share is None else check_share(share),
        expires_at=None if expires_days is None else (now + timedelta(days=expires_days)).isoformat(),
    )


def hash_of(text: str) -> str:
    """Return what is kept of a key.

    Plain SHA-256, since its secret is 256 random bits: a slow hash with a salt is for passwords, which can be guessed.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def id_of(text: str) -> str | None:
    """Return the id in the text of a key; ``None`` if that is no key at all."""
    found = KEY.fullmatch(text)
    return found[1] if found else None


def verify(text: str, stored: ApiKey | None, now: datetime) -> bool:
    """Whether ``text`` is the key of which ``stored`` is kept, and still good.

    How long that takes tells neither how much of the secret is right nor whether the id exists.
    """
    same = hmac.compare_digest(hash_of(text), stored.sha256 if stored else NO_HASH)
    return same and stored is not None and not stored.is_expired(now)


def check_rate(value: object) -> int:
    """Return a number of requests a minute, 0 for no limit.

    Raises:
        SettingsError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_RATE:
        raise SettingsError(f"rate={shorten(value)}: use requests a minute from 1 to {MAX_RATE}, or 0 for no limit")
    return value


def check_share(value: object) -> float:
    """Return a part of the queue.

    Raises:
        SettingsError: it is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise SettingsError(f"share={shorten(value)}: use a part of the queue above 0 and up to 1, such as 0.25")
    return float(value)


def _text(value: str, pattern: str | re.Pattern[str]) -> str:
    if not re.fullmatch(pattern, value):
        raise ValueError(value)
    return value


def _time(value: str) -> str:
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError(value)
    return value


class KeyStore:
    """The API keys in Redis, for programs that make and revoke them.

    Without a URL, ``SEEDMILL_REDIS_URL`` is read. Its methods raise ``QueueUnreachable`` and ``QueueRefused``.
    """

    def __init__(self, redis_url: str | None = None) -> None:
        self._url = ProducerSettings.load(redis_url=redis_url).redis_url
        self._redis: Any = connect(self._url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._redis.close()

    def add(self, key: ApiKey) -> None:
        """Keep a new key, which is good from now on."""
        with translated(self._url):
            self._redis.hset(API_KEYS_KEY, key.id, key.encode())

    def all(self) -> list[ApiKey]:
        """Return the keys in the order in which they were made; what cannot be read as one is left out."""
        with translated(self._url):
            stored: Mapping[str, str] = self._redis.hgetall(API_KEYS_KEY)
        keys = [key for key_id, text in stored.items() if (key := ApiKey.decode(key_id, text))]
        return sorted(keys, key=lambda key: (key.created_at, key.id))

    def revoke(self, key_id: str) -> None:
        """Forget a key, which the API refuses from then on, at the latest after some seconds.

        Raises:
            ApiKeyNotFound: there is none of that id.
        """
        with translated(self._url):
            if not self._redis.hdel(API_KEYS_KEY, key_id):
                raise ApiKeyNotFound(key_id)
