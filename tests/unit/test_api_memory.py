"""Whether Redis has room left for another job."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from producer import QueueFull, QueueRefused
from producer.api.memory import Memory


async def look(memory: Memory) -> None:
    """Let it look once."""
    task = asyncio.create_task(memory.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()


def seen(facts: dict[str, Any] | Exception) -> Memory:
    async def read() -> dict[str, Any]:
        if isinstance(facts, Exception):
            raise facts
        return facts

    memory = Memory(read)
    asyncio.run(look(memory))
    return memory


@pytest.mark.parametrize(
    "facts",
    [{}, {"used_memory": 10, "maxmemory": 0}, {"used_memory": 90, "maxmemory": 100}, QueueRefused("no right to ask")],
)
def test_there_is_room_where_no_bound_is_near(facts: dict[str, Any] | Exception) -> None:
    seen(facts).check()


def test_a_redis_that_is_nearly_full_takes_no_new_job() -> None:
    with pytest.raises(QueueFull, match=r"used 91% of its memory.*nothing was enqueued") as refused:
        seen({"used_memory": 91, "maxmemory": 100}).check()
    assert refused.value.retry_after_s == 60
