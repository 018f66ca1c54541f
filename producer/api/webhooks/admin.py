"""What callers of the API may ask of webhooks: their secret, and what was given up, to be sent again or forgotten."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from redis.asyncio import Redis

from producer.api.webhooks import secrets, store
from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.store import DeadWebhook
from producer.connection import translated
from producer.lua import Call


class WebhookAdmin:
    """Secrets and dead letters of webhooks; ``tenant`` is whose, ``None`` for everybody's.

    Args:
        settings: what is signed with.
        redis: a client that decodes replies.

    Raises:
        SettingsError: a secret cannot be used.
    """

    def __init__(self, settings: WebhookSettings, redis: Redis) -> None:
        self._settings = settings
        self._redis = redis
        self._masters = secrets.set_masters(settings)

    async def secrets_of(self, tenant: str) -> list[str]:
        """Return a tenant's secrets, the first of which signs first: any of them verifies."""
        masters = self._masters or secrets.kept_masters(await self._run(secrets.keep_master()))
        return secrets.tenant_secrets(masters, tenant)

    async def dead(self, limit: int = 100, tenant: str | None = None) -> list[DeadWebhook]:
        """Return the newest webhooks that were given up."""
        asked = limit if tenant is None else store.MAX_DEAD
        letters = store.parse_dead(await self._run(store.list_dead(asked)))
        return [letter for letter in letters if tenant in (None, letter.tenant)][:limit]

    async def replay(self, letter_id: str, tenant: str | None = None) -> DeadWebhook:
        """Make a webhook due again that was given up; returns what it was.

        Raises:
            DeadLetterNotFound: there is no such one.
            ReplayRefused: there is no record of its job any more.
        """
        letter = store.only(store.parse_dead(await self._run(store.list_dead(1, letter_id))), letter_id, tenant)
        store.check_replay(letter, await self._run(store.replay_dead(letter)))
        return letter

    async def purge(self, letter_ids: Collection[str] | None = None, tenant: str | None = None) -> int:
        """Forget these webhooks that were given up, or with ``None`` all of them; returns how many are gone."""
        if tenant is not None:
            own = {letter.id for letter in await self.dead(store.MAX_DEAD, tenant)}
            letter_ids = own if letter_ids is None else own.intersection(letter_ids)
        if letter_ids is not None and not letter_ids:
            return 0
        return int(await self._run(store.purge_dead(letter_ids or ())))

    async def _run(self, call: Call) -> Any:
        with translated(self._settings.redis_url):
            return await self._redis.register_script(call.script)(keys=call.keys, args=call.args)
