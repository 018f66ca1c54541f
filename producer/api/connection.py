"""The API's way to Redis: record calls and a few plain commands, errors translated.

Knows nothing of HTTP and of what a call means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio.client import PubSub

from producer.connection import connect_async, translated
from producer.lua import Call


class Connection:
    """A pool of connections to one Redis; nothing is sent before it is used."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis = connect_async(url)
        """For those whose commands are their own."""

    async def run(self, call: Call) -> Any:
        """Carry out a call."""
        with translated(self.url):
            return await self.redis.register_script(call.script)(keys=call.keys, args=call.args)

    async def texts(self, keys: Sequence[str]) -> list[str | None]:
        """Return the strings under these keys."""
        with translated(self.url):
            found: Any = await self.redis.mget(keys) if keys else []
        return list(found)

    async def keep(self, key: str, value: str) -> None:
        """Set a string that does not expire."""
        with translated(self.url):
            await self.redis.set(key, value)

    async def memory(self) -> dict[str, Any]:
        """Return what Redis says of its memory."""
        with translated(self.url):
            facts: Any = await self.redis.info("memory")
        return dict(facts)

    async def ping(self) -> None:
        """Ask whether Redis answers."""
        with translated(self.url):
            await self.redis.ping()

    def listener(self) -> PubSub:
        """Return a connection that messages are received on."""
        return self.redis.pubsub(ignore_subscribe_messages=True)

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()
