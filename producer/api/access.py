"""Who calls: an API key becomes a :class:`Caller`, and a route says which scope its caller needs.

    @router.get("/v1/jobs/{job_id}")
    async def read(job_id: str, caller: Read) -> Job: ...

A route has one of these alone, since each counts the request.
Keys are those of producer/keys.py. Each that is looked up is remembered for some seconds, so a revoked key passes for
as long; with Redis away, one that is not remembered is never let through. Errors are those of producer/errors.py.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from redis.asyncio import Redis

from producer.api.access_settings import AccessSettings
from producer.api.rate_limit import FailureLimit, spend
from producer.connection import translated
from producer.contract import API_KEYS_KEY
from producer.errors import Forbidden, QueueError, RateLimited, Unauthorized
from producer.job import JobRecord
from producer.keys import ApiKey, Scope, id_of, verify

log = structlog.get_logger(__name__)

CACHE_S = 5.0
"""Seconds that a key, or that there is none of an id, is remembered: the longest that a revoked one passes."""

MAX_CACHED = 4096
HOW_TO = "send the header Authorization: Bearer sm_..., with a key that seedmill keys create has made"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    ``tenant`` is who the jobs belong to, "" for nobody in particular. ``rate`` and ``share`` are those of the key,
    ``None`` where the API's defaults hold.
    """

    tenant: str
    scopes: frozenset[Scope]
    name: str
    key_id: str
    rate: int | None = None
    share: float | None = None

    @classmethod
    def of(cls, key: ApiKey) -> Caller:
        """Return who holds a key."""
        return cls(key.tenant, key.scopes, key.name, key.id, key.rate, key.share)

    @property
    def is_admin(self) -> bool:
        """Whether the caller may do everything."""
        return Scope.ADMIN in self.scopes

    def may_see(self, record: JobRecord) -> bool:
        """Whether a job is the caller's to know of; another's is as if it did not exist."""
        return self.is_admin or record.tenant == self.tenant

    def require(self, scope: Scope) -> None:
        """Raise :class:`~producer.errors.Forbidden` unless the caller has a scope."""
        if not (self.is_admin or scope in self.scopes):
            raise Forbidden(
                f"the API key {self.name!r} ({self.key_id}) lacks the scope {scope}: "
                f"make one that has it with seedmill keys create NAME --scope {scope}"
            )


ANYBODY = Caller(tenant="", scopes=frozenset(Scope), name="", key_id="")
"""Who asks an open API without a key."""


class Access:
    """The keys that this process has seen lately, and the limits of those who use them.

    Args:
        settings: whether keys are asked for, where Redis is, and the rate of keys without one of their own.
        redis: where the keys are.
        clock: seconds, never going back.
    """

    def __init__(self, settings: AccessSettings, redis: Redis, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._redis: Any = redis
        self._clock = clock
        self._cache: OrderedDict[str, tuple[ApiKey | None, float]] = OrderedDict()
        self._failures = FailureLimit()

    async def caller(self, authorization: str | None, address: str = "") -> Caller:
        """Return who shows this ``Authorization`` header, and count the request.

        Args:
            authorization: the header; ``None`` if there was none.
            address: of the client, whose failed attempts are counted.

        Raises:
            Unauthorized: there is no key, or it is not known, or no longer good.
            RateLimited: the key asks too often, or the address has shown too many wrong keys.
            QueueUnreachable, QueueRefused: the key could not be looked up.
        """
        if authorization is None:
            if self._settings.requires_key:
                raise Unauthorized(f"an API key is needed: {HOW_TO}")
            return ANYBODY
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        key_id = id_of(text)
        if scheme.lower() != "bearer" or key_id is None:
            raise Unauthorized(f"the Authorization header holds no API key: {HOW_TO}")
        key = await self._authenticate(text, key_id, address)
        await self._spend(key)
        return Caller.of(key)

    async def _authenticate(self, text: str, key_id: str, address: str) -> ApiKey:
        now = self._clock()
        key = await self._look_up(key_id, now)
        if verify(text, key, datetime.now(UTC)) and key is not None:
            return key  # whatever others have tried from the same address
        if wait_s := self._failures.retry_after_s(address, now):
            raise RateLimited(f"too many wrong API keys came from {address}: try again in {wait_s} s", wait_s)
        self._failures.count(address, now)
        raise Unauthorized(f"the API key sm_{key_id}_... is not known here: it is wrong, revoked or expired; {HOW_TO}")

    async def _look_up(self, key_id: str, now: float) -> ApiKey | None:
        key, read_at = self._cache.get(key_id, (None, -math.inf))
        if now - read_at >= CACHE_S:
            with translated(self._settings.redis_url):
                text: str | None = await self._redis.hget(API_KEYS_KEY, key_id)
            key = ApiKey.decode(key_id, text) if text else None
            self._cache[key_id] = (key, now)
        self._cache.move_to_end(key_id)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return key

    async def still_good(self, caller: Caller) -> bool:
        """Whether the key of a caller who stays has not been revoked and is not expired; counts no request."""
        if not caller.key_id:
            return True
        try:
            key = await self._look_up(caller.key_id, self._clock())
        except QueueError:
            return True  # nobody knows; who stays is told nothing meanwhile
        return key is not None and not key.is_expired(datetime.now(UTC))

    async def _spend(self, key: ApiKey) -> None:
        """Count a request; while Redis is away none is counted, and what the request asks for fails by itself."""
        per_minute = self._settings.api_rate_per_minute if key.rate is None else key.rate
        if not per_minute:
            return
        call, wait_ms = spend(key.id, per_minute), 0
        with suppress(QueueError), translated(self._settings.redis_url):
            wait_ms = await self._redis.register_script(call.script)(keys=call.keys, args=call.args)
        if wait_ms:
            wait_s = math.ceil(wait_ms / 1000)
            raise RateLimited(
                f"the API key {key.name!r} ({key.id}) may make {per_minute} requests a minute: try again in {wait_s} s",
                wait_s,
            )

    async def announce(self) -> None:
        """Warn, at start, of an API that is open to others, and of one that nobody can use yet."""
        variable, host = self._settings.variable("api_auth"), self._settings.api_host
        if not self._settings.requires_key:
            if not self._settings.listens_on_loopback:
                log.warning(
                    f"anybody who reaches {host} may use this API without a key, since {variable}=open: "
                    f"unless that is meant, set {variable}=required",
                    action="access",
                )
            return
        with suppress(QueueError), translated(self._settings.redis_url):
            if not await self._redis.hlen(API_KEYS_KEY):
                text = "this API asks for keys and there is none: make one with seedmill keys create NAME"
                log.warning(text, action="access")


bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="sm_<id>_<secret>",
    description="An API key of `seedmill keys create`. An API that listens on a loopback address alone needs none.",
)


def _needs(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    async def caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Caller:
        headers = request.headers.getlist("authorization")
        access: Access = request.app.state.access
        address = request.client.host if request.client else ""
        found = await access.caller(", ".join(headers) if headers else None, address)  # two are no key
        found.require(scope)
        return found

    return caller


Submit = Annotated[Caller, Depends(_needs(Scope.SUBMIT))]
"""A caller who may make jobs."""

Read = Annotated[Caller, Depends(_needs(Scope.READ))]
"""A caller who may read."""

Admin = Annotated[Caller, Depends(_needs(Scope.ADMIN))]
"""A caller who may do everything."""
