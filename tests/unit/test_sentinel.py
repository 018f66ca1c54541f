"""Clients behind Sentinels: how long a command is tried, and when a connection looks for another primary."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from redis.retry import Retry

from producer.connection import connect, connect_async
from producer.sentinel import LOOK_S, PATIENCE_S, SPARED_S, AsyncPatience, AsyncWatching, Patience, Watching

HERE = ("10.0.0.1", 6379)


class Clock:
    """A clock that others move on."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module, and of the library's pauses."""
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.sleep(seconds)

    monkeypatch.setattr("producer.sentinel.time", clock)
    monkeypatch.setattr("redis.retry.sleep", clock.sleep)
    monkeypatch.setattr("redis.asyncio.retry.sleep", sleep)
    return clock


class Command:
    """A command that fails after so many seconds, by call and by ``await``."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.sent = self.told = 0

    def send(self) -> None:
        self.sent += 1
        self.clock.sleep(self.seconds)
        raise redis.TimeoutError("nothing came")

    def fail(self, _: Exception) -> None:
        self.told += 1

    async def asend(self) -> None:
        self.send()

    async def afail(self, error: Exception) -> None:
        self.fail(error)

    def run(self, kind: type[Patience | AsyncPatience]) -> None:
        patience = kind()
        if isinstance(patience, Patience):
            patience.call_with_retry(self.send, self.fail)
        else:
            asyncio.run(patience.call_with_retry(self.asend, self.afail))


@pytest.mark.parametrize("kind", [Patience, AsyncPatience])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 5.0])
def test_a_command_is_given_up_after_a_time_however_long_an_attempt_takes(
    clock: Clock, kind: type[Patience | AsyncPatience], seconds: float
) -> None:
    command = Command(clock, seconds)
    began = clock.now
    with pytest.raises(redis.TimeoutError, match="nothing came"):
        command.run(kind)
    assert PATIENCE_S <= clock.now - began <= PATIENCE_S + 2 + seconds, "the last pause and attempt come on top"
    assert command.told == command.sent >= 3, "each failed attempt closes its connection, the last too"


def test_clients_of_either_kind_have_that_patience() -> None:
    url = "sentinel://h/0?service_name=s"
    clients: list[Any] = [connect(url), connect(url, retries=0), connect_async(url)]
    kinds = [type(client.connection_pool.make_connection().retry) for client in clients]
    assert kinds == [Patience, Retry, AsyncPatience]


class Pool:
    """Where the primary is, said after so many seconds, or that nobody says so."""

    def __init__(self, clock: Clock, seconds: float, *, is_known: bool) -> None:
        self.clock, self.seconds, self.is_known = clock, seconds, is_known
        self.looks = 0

    def find(self) -> tuple[str, int]:
        self.looks += 1
        self.clock.sleep(self.seconds)
        if not self.is_known:
            raise redis.ConnectionError("no Sentinel names a living primary")
        return HERE


class SyncPool(Pool):
    def get_master_address(self) -> tuple[str, int]:
        return self.find()


class AsyncPool(Pool):
    async def get_master_address(self) -> tuple[str, int]:
        return self.find()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("seconds", "is_known", "pause"),
    [
        (0.0, True, LOOK_S),
        (LOOK_S + 1, True, LOOK_S),  # one Sentinel hangs, and the next answers
        (0.0, False, LOOK_S),  # none knows a primary, until one is chosen
        (LOOK_S + 1, False, SPARED_S),
    ],
)
def test_only_after_a_slow_look_in_vain_the_next_is_late(
    clock: Clock, is_async: bool, seconds: float, is_known: bool, pause: float
) -> None:
    kind: Any = AsyncWatching if is_async else Watching
    pool = (AsyncPool if is_async else SyncPool)(clock, seconds, is_known=is_known)
    connection = kind(host=HERE[0], port=HERE[1], connection_pool=pool)

    def use() -> int:
        found = connection.check_health()
        if is_async:
            asyncio.run(found)
        return pool.looks

    assert use() == 1
    clock.sleep(pause - 0.1)
    assert use() == 1
    clock.sleep(0.2)
    assert use() == 2
