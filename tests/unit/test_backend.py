"""What a client talks to: arguments decide, then the environment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from producer import AsyncClient, Client, SettingsError
from tests.support import one_line, run_python

API = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "API_URL", "API_KEY", "CHUNK_SIZE", "RESULT_TTL_S"):
        monkeypatch.delenv(f"SEEDMILL_{name}", raising=False)


def where(*arguments: Any, **options: Any) -> str:
    """Return what a client talks to, which is the same for both."""

    async def through_async() -> str:
        async with AsyncClient(*arguments, **options) as client:
            return str(client.api.api_url if client.api else client.settings.redis_url)

    with Client(*arguments, **options) as client:
        found = str(client.api.api_url if client.api else client.settings.redis_url)
    assert asyncio.run(through_async()) == found
    return found


def test_without_a_word_it_is_redis() -> None:
    assert where() == "redis://127.0.0.1:6379/0"


def test_an_argument_wins_over_the_environment_and_the_api_over_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    assert where(url=API) == API
    monkeypatch.setenv("SEEDMILL_REDIS_URL", "redis://elsewhere:1/2")
    assert where() == "redis://elsewhere:1/2"
    monkeypatch.setenv("SEEDMILL_API_URL", "https://mill.example/api")
    assert where() == "https://mill.example/api"
    assert where(url=API) == API
    assert where("redis://here:1/2") == "redis://here:1/2"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": API, "redis_url": "redis://here"}, "give one of them"),
        (
            {"redis_url": "http://me:hush@host"},
            r"'http://me:\*\*\*@host' \(SEEDMILL_REDIS_URL\) is no Redis: give the HTTP API as url",
        ),
        ({"api_key": "k"}, "give its url too"),
        ({"redis_url": "redis://here", "api_key": "k"}, "give its url too"),
        ({"url": API, "result_ttl_s": 3600}, "result_ttl_s=3600 cannot be chosen over HTTP"),
        ({"url": API, "chunk_size": 0}, "chunk_size=0"),
        ({"url": "mill.example"}, "'mill.example': write http://host:port"),
        ({"url": "redis://here"}, "'redis://here': write http"),
        ({"url": "http://"}, "'http://': write http"),
        ({"url": f"{API}/?a=b"}, "write http"),
        ({"url": "http://me:hush@host"}, r"'http://me:\*\*\*@host': write http"),
        ({"url": "http://host:x"}, "not a URL"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_contradicts_itself_or_is_no_url_is_refused(kind: type, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        kind(**options)


def test_calls_that_only_redis_knows_are_refused_over_http() -> None:
    with Client(url=API) as client, pytest.raises(TypeError, match="Redis itself"):
        client._redis.ping()


@pytest.mark.parametrize("package", ["httpx2", "stamina"])
def test_without_its_libraries_it_is_said_what_to_install(package: str) -> None:
    code = (
        f"import sys; sys.modules['{package}'] = None\nfrom producer.cli import main; sys.argv[0] = 'seedmill'; main()"
    )
    done = run_python("-c", code, "status", "j", "--url", API)
    assert (done.returncode, "pip install httpx2 stamina" in one_line(done.stderr)) == (2, True)
