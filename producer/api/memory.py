"""Whether Redis has room left: new jobs are refused before its memory is full, since workers need some to end others.

Results and records stay until they expire, so that also a queue that is short can fill it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from producer.errors import QueueError, QueueFull

LOOK_S = 5.0
MOST = 0.9
"""Part of ``maxmemory`` beyond which no new jobs are taken."""

RETRY_S = 60


class Memory:
    """The memory of Redis as it was seen last; without ``maxmemory``, or the right to ask, it is never full.

    Args:
        read: asks Redis (``INFO memory``).
    """

    def __init__(self, read: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self._read = read
        self.used = 0.0
        """Part of ``maxmemory`` that is in use."""

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            try:
                self.used = part_in_use(await self._read())
            except QueueError:
                self.used = 0.0
            await asyncio.sleep(LOOK_S)

    def check(self) -> None:
        """Raise :class:`~producer.errors.QueueFull` if there is no room for another job."""
        if self.used > MOST:
            raise QueueFull(
                f"Redis has used {self.used:.0%} of its memory, and the rest is for jobs that were accepted: results "
                "make room when they expire, or whoever runs this raises maxmemory; nothing was enqueued",
                RETRY_S,
            )


def part_in_use(facts: Mapping[str, Any]) -> float:
    """Return which part of its memory Redis has in use, 0 if it has no bound."""
    most = int(facts.get("maxmemory", 0))
    return int(facts.get("used_memory", 0)) / most if most else 0.0
