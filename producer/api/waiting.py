"""How many callers may wait for jobs at once, streams too: so many in all, and a part of them with one key.

Each holds a connection and is woken with every change of its job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from producer.api.access import Access, Caller
from producer.errors import RateLimited, Unauthorized

KEY_PART = 0.25
"""Part of all places that callers with one key may take."""

RETRY_AFTER_S = 5


class Waiting:
    """The places of one process.

    Args:
        most: how many there are.
        access: what is asked, as long as somebody waits, whether their key is still good.
    """

    def __init__(self, most: int, access: Access) -> None:
        self._most = most
        self._access = access
        self._taken = Counter[str]()

    def has_room(self, caller: Caller) -> bool:
        """Whether the caller may begin to wait."""
        of_key = max(1, int(self._most * KEY_PART)) if caller.key_id else self._most
        return self._taken.total() < self._most and self._taken[caller.key_id] < of_key

    def check_room(self, caller: Caller) -> None:
        """Raise :class:`~producer.errors.RateLimited` unless the caller may begin to wait."""
        if not self.has_room(caller):
            raise RateLimited("too many requests wait for jobs or stream their events already", RETRY_AFTER_S)

    @contextmanager
    def place(self, caller: Caller) -> Iterator[None]:
        """Hold a place, inside."""
        self._taken[caller.key_id] += 1
        try:
            yield
        finally:
            self._taken[caller.key_id] -= 1
            if not self._taken[caller.key_id]:
                del self._taken[caller.key_id]

    async def may_stay(self, caller: Caller) -> bool:
        """Whether the key of one who waits is still good."""
        return await self._access.still_good(caller)

    async def check_stay(self, caller: Caller) -> None:
        """Raise :class:`~producer.errors.Unauthorized` if it is not."""
        if not await self.may_stay(caller):
            raise Unauthorized(f"the API key sm_{caller.key_id}_... was revoked or has expired meanwhile")
