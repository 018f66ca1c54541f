"""Either client, over Redis and over HTTP, driven as if it were the blocking one; a worker's part done by hand."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from producer import AsyncClient, Client, attempts
from producer.api import workers
from producer.attempts import Ending
from producer.connection import connect
from producer.contract import Priority, SeedStatus, held_key
from producer.job import JobView
from producer.message import ChunkMessage, SeedResult, chunk_result, encode_celery_result
from tests.conftest import empty_database
from tests.integration.api import api_settings, serving
from tests.integration.receiver import Authority
from tests.support import messages_of
from worker.local.stack import Endpoints
from worker.queue.ledger import Ledger
from worker.results import _dead_letter


class Sync:
    """Calls either client as if it were the blocking one."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._settle(value(*args, **kwargs))

    def _settle(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            value = self._loop.run_until_complete(value)
        if hasattr(value, "__aiter__"):
            return self._loop.run_until_complete(self._gather(value))
        return Sync(value, self._loop) if isinstance(value, JobView) else value

    @staticmethod
    async def _gather(values: Any) -> list[Any]:
        return [value async for value in values]


Make = Callable[..., Any]


OVER_REDIS = [pytest.param((kind, False), id=kind.__name__) for kind in (Client, AsyncClient)]
OVER_HTTP = [pytest.param((kind, True), id=f"{kind.__name__}-http") for kind in (Client, AsyncClient)]

over_redis = pytest.mark.parametrize("make", OVER_REDIS, indirect=True)
"""For tests of what lies behind both ways."""


@pytest.fixture(scope="module")
def quiet_api(endpoints: Endpoints) -> Iterator[str]:
    """The URL of an API over the database of ``quiet``."""
    with serving(api_settings(empty_database(endpoints, 9))) as url:
        yield url


@pytest.fixture(params=OVER_REDIS + OVER_HTTP)
def make(request: pytest.FixtureRequest, quiet: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """What makes a client; one of Redis where a test names a database of its own."""
    kind, over_http = request.param
    monkeypatch.setattr(workers, "FRESH_S", 0.0)  # tests look at the queue more often than once a second
    where = {"url": request.getfixturevalue("quiet_api")} if over_http else {"redis_url": quiet.redis_url}
    loop = asyncio.new_event_loop()
    made: list[Sync] = []

    def build(**options: Any) -> Sync:
        if over_http and "redis_url" in options:
            pytest.skip("what the database does wrong, a client over HTTP does not see itself")
        made.append(Sync(kind(**{**where, "chunk_size": 2, **options}), loop))
        return made[-1]

    yield build
    for client in made:
        client.close()
    loop.close()


@pytest.fixture
def client(make: Make) -> Any:
    return make()


HELD = held_key("hand")


def message_in(text: str | bytes) -> ChunkMessage:
    """Read a message of ours."""
    envelope = json.loads(text)
    kwargs = json.loads(envelope["body"])[1]
    priority = next(one for one in Priority if one.number == envelope["properties"]["priority"])
    return ChunkMessage(envelope["headers"]["id"], kwargs["job_id"], kwargs["chunk"], tuple(kwargs["seeds"]), priority)


class Hand:
    """A worker's part, done by hand."""

    def __init__(self, quiet: Endpoints) -> None:
        self.client = Client(quiet.redis_url, chunk_size=2)

    def take(self, limit: int = 1000) -> list[ChunkMessage]:
        """Take messages and put them back, so that they wait as such; returns them."""
        client = connect(self.client.settings.redis_url, decode=False)
        ledger = Ledger(client, limit=limit, seeds=10**6, result_ttl_s=60)
        messages = [message_in(taken.text) for taken in ledger.take()]
        ledger.leave()
        ledger.close()
        return messages

    def finish(
        self, job_id: str, seeds: tuple[int, ...], *, bad: tuple[int, ...] = (), chunks: int | None = None
    ) -> None:
        """Record the chunks of a job, or the first of them, as generated."""
        for message in messages_of(job_id, seeds, 2, Priority.BULK)[:chunks]:
            self.record(message, bad)

    def record(self, message: ChunkMessage, bad: tuple[int, ...]) -> None:
        results = [
            SeedResult.failure(seed, ValueError("bad"))
            if seed in bad
            else SeedResult(seed, SeedStatus.SUCCEEDED, f"caption of {seed}")
            for seed in message.seeds
        ]
        value = chunk_result(message, results)
        text = encode_celery_result(message.task_id, "SUCCESS", value)
        letter = _dead_letter(message, results, 1)
        ending = Ending(value["succeeded"], value["failed"], text, letter.encode() if letter else "")
        self.begin(message)
        self.client._run(attempts.finish_chunk(message, ending, held=HELD, tag=message.task_id, ttl_s=60))

    def begin(self, message: ChunkMessage, *, adopt: bool = False) -> None:
        """Take a message and begin with it."""
        self.client._redis.hset(HELD, message.task_id, "0message")
        call = attempts.start_chunk(message, held=HELD, tag=message.task_id, adopt=adopt, alone=True, ttl_s=60)
        self.client._run(call)


@pytest.fixture
def hand(quiet: Endpoints) -> Iterator[Hand]:
    hand = Hand(quiet)
    yield hand
    hand.client.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who certifies the receivers of webhooks."""
    ca, path = trustme.CA(), tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return Authority(ca, path)
