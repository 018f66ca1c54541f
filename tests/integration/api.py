"""The API as tests use it: an app over the servers of the session, asked in this process by one event loop."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
from fastapi import FastAPI

from producer.api.app import create_app
from producer.api.server import Server, server_config
from producer.api.settings import ApiSettings
from producer.connection import connect
from producer.contract import WORKER_FACTS_KEY, WORKERS_KEY
from producer.keys import KeyStore, Scope, make_key
from worker.local.stack import Endpoints

T = TypeVar("T")

BASE = "http://127.0.0.1"


def api_settings(endpoints: Endpoints, **changes: Any) -> ApiSettings:
    """Return settings of an app over these servers, whatever the environment says."""
    values: dict[str, Any] = {
        "redis_url": endpoints.redis_url,
        "s3_bucket": endpoints.bucket,
        "s3_endpoint_url": endpoints.s3_url,
        "s3_access_key_id": endpoints.access_key,
        "s3_secret_access_key": endpoints.secret_key,
        "s3_session_token": "",
        "chunk_size": 2,
    }
    return ApiSettings.load(**{**values, **changes})


@asynccontextmanager
async def asking(settings: ApiSettings) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an app, inside, and yield a client of it; its ``app`` is in the client's transport."""
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    """Return a client of an app that runs."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE, timeout=30)


def new_key(endpoints: Endpoints, *scopes: Scope, tenant: str = "studio") -> str:
    """Return the text of a key that is known from now on."""
    text, key = make_key("visitor", scopes=scopes, tenant=tenant)
    with KeyStore(endpoints.redis_url) as store:
        store.add(key)
    return text


def pretend_worker(endpoints: Endpoints, model_id: str | None = "pretended") -> None:
    """Let there seem to be a worker of this model, or with ``None`` no more."""
    facts = {"id": "hand", "model_id": model_id, "image_size": 256, "started_at": "2026-01-01T00:00:00+00:00"}
    client: Any = connect(endpoints.redis_url)
    client.hset(WORKER_FACTS_KEY, "hand", json.dumps(facts))
    if model_id is None:
        client.zrem(WORKERS_KEY, "hand")
    else:
        client.zadd(WORKERS_KEY, {"hand": 2**52})
    client.close()


@contextmanager
def serving(settings: ApiSettings) -> Iterator[str]:
    """Serve an app on a free port, inside, from a thread; yields its URL."""
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(server_config(app, settings), app.state.services)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a test's coroutine."""
    return asyncio.run(main())


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: dict[str, Any]
    id: str | None


def read_events(text: str) -> list[Event]:
    """Read a stream of events as a browser does; comments, the retry time and half an event are left out."""
    events = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            events.append(Event(fields["event"], json.loads(fields["data"]), fields.get("id")))
    return events
