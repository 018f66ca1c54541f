"""Who may call the API and how often, with keys in a real Redis and the dependencies in a small app."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from fastapi import FastAPI, Request, Response
from httpx2 import Response as Answer
from starlette.testclient import TestClient

from producer import keys, problems
from producer.api import access
from producer.api.access import ANYBODY, CACHE_S, Access, Admin, Caller, Read, Submit
from producer.api.access_settings import AccessSettings
from producer.api.answers import problem_response
from producer.api.rate_limit import spend
from producer.connection import connect, connect_async
from producer.contract import API_KEYS_KEY, RATE_KEY_PREFIX, JobStatus
from producer.errors import SeedmillError
from producer.job import Counts, JobRecord
from producer.keys import ApiKey, KeyStore, Scope
from worker.local.stack import Endpoints

NOWHERE = "redis://127.0.0.1:1/0"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def small_app(settings: AccessSettings, clock: Clock) -> FastAPI:
    """Return an app with a route for each scope, that answers with the tenant who called."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        redis = connect_async(settings.redis_url)
        app.state.access = Access(settings, redis, clock=clock)
        await app.state.access.announce()
        yield
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.exception_handler(SeedmillError)
    async def tell(_: Request, error: SeedmillError) -> Response:
        return problem_response(problems.of_error(error))

    @app.get("/submit")
    async def submit(caller: Submit) -> str:
        return caller.tenant

    @app.get("/read")
    async def read(caller: Read) -> str:
        return caller.tenant

    @app.get("/admin")
    async def admin(caller: Admin) -> str:
        return caller.tenant

    return app


Serve = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(quiet: Endpoints) -> Iterator[KeyStore]:
    with KeyStore(quiet.redis_url) as store:
        yield store


@pytest.fixture
def serve(quiet: Endpoints, clock: Clock) -> Serve:
    def start(**options: Any) -> TestClient:
        settings = AccessSettings(**{"redis_url": quiet.redis_url, "api_auth": "required", **options})
        return TestClient(small_app(settings, clock), client=("203.0.113.5", 50000))

    return start


def issue(store: KeyStore, **options: Any) -> tuple[str, ApiKey]:
    text, key = keys.make_key("test", **options)
    store.add(key)
    return text, key


def ask(client: TestClient, path: str, text: str) -> Answer:
    return client.get(path, headers={"Authorization": f"Bearer {text}"})


def problem_of(answer: Answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == problems.MEDIA_TYPE
    return answer.status_code, answer.json()["type"].removeprefix(problems.TYPE_PREFIX)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (set(), set()),
        ({Scope.SUBMIT}, {"submit"}),
        ({Scope.READ}, {"read"}),
        ({Scope.SUBMIT, Scope.READ}, {"submit", "read"}),
        ({Scope.ADMIN}, {"submit", "read", "admin"}),
    ],
)
def test_a_key_opens_what_its_scopes_say(serve: Serve, store: KeyStore, scopes: set[Scope], allowed: set[str]) -> None:
    text, _ = issue(store, scopes=scopes, tenant="studio")
    with serve() as client:
        for path in ("submit", "read", "admin"):
            answer = ask(client, f"/{path}", text)
            if path in allowed:
                assert (answer.status_code, answer.json()) == (200, "studio")
            else:
                assert problem_of(answer) == (403, "forbidden")
                assert f"lacks the scope {path}" in answer.json()["detail"]


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer x", "Basic dXNlcjpwYXNz", "sm_abcdefghijkl_" + "a" * 43, "Bearer \u00fc"],
)
@pytest.mark.parametrize("mode", ["required", "open"])
def test_a_header_without_a_key_is_refused_and_no_header_only_where_keys_are_needed(
    serve: Serve, header: str | None, mode: str
) -> None:
    with serve(api_auth=mode) as client:
        answer = client.get("/read", headers=[] if header is None else [(b"Authorization", header.encode())])
    if header is None and mode == "open":
        assert (answer.status_code, answer.json()) == (200, "")
    else:
        assert problem_of(answer) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_two_authorization_headers_are_no_key(serve: Serve, store: KeyStore) -> None:
    text, _ = issue(store)
    with serve() as client:
        answer = client.get("/read", headers=[("Authorization", f"Bearer {text}")] * 2)
    assert problem_of(answer) == (401, "unauthorized")


def test_a_key_that_is_given_to_an_open_api_is_checked_and_counts(serve: Serve, store: KeyStore) -> None:
    text, _ = issue(store, scopes={Scope.READ}, tenant="studio")
    with serve(api_auth="open") as client:
        assert ask(client, "/read", text).json() == "studio"
        assert ask(client, "/admin", text).status_code == 403
        assert ask(client, "/read", keys.make_key("stranger")[0]).status_code == 401
        assert client.get("/admin").status_code == 200


def test_a_wrong_secret_is_refused_also_while_the_right_one_is_remembered(serve: Serve, store: KeyStore) -> None:
    text, _ = issue(store)
    with serve() as client:
        assert ask(client, "/read", text).status_code == 200
        wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
        assert problem_of(ask(client, "/read", wrong)) == (401, "unauthorized")


def test_a_revoked_key_passes_for_five_seconds_at_most(serve: Serve, store: KeyStore, clock: Clock) -> None:
    text, key = issue(store)
    with serve() as client:
        assert ask(client, "/read", text).status_code == 200
        store.revoke(key.id)
        clock.now += CACHE_S - 0.1
        assert ask(client, "/read", text).status_code == 200
        clock.now += 0.1
        assert ask(client, "/read", text).status_code == 401
    assert CACHE_S <= 5


def test_a_key_expires_also_while_it_is_remembered(
    serve: Serve, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = issue(store, expires_days=1)
    with serve() as client:
        assert ask(client, "/read", text).status_code == 200
        monkeypatch.setattr(ApiKey, "is_expired", lambda self, now: True)
        assert ask(client, "/read", text).status_code == 401


def test_an_unknown_key_is_looked_up_once_in_a_while(serve: Serve, store: KeyStore, clock: Clock) -> None:
    text, key = keys.make_key("later")
    with serve() as client:
        assert ask(client, "/read", text).status_code == 401
        store.add(key)
        assert ask(client, "/read", text).status_code == 401
        clock.now += CACHE_S
        assert ask(client, "/read", text).status_code == 200


def test_the_keys_that_are_remembered_are_the_last_ones_used(
    serve: Serve, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MAX_CACHED", 2)
    issued = [issue(store) for _ in range(3)]
    with serve() as client:
        for place in (0, 1, 0, 2):
            assert ask(client, "/read", issued[place][0]).status_code == 200
        for _, key in issued:
            store.revoke(key.id)
        assert [ask(client, "/read", text).status_code for text, _ in issued] == [200, 401, 401]


def test_what_cannot_be_read_as_a_key_lets_nobody_in(serve: Serve, quiet: Endpoints) -> None:
    text, key = keys.make_key("damaged")
    redis = connect(quiet.redis_url)
    redis.hset(API_KEYS_KEY, key.id, key.encode()[:-1])
    redis.close()
    with serve() as client:
        assert ask(client, "/read", text).status_code == 401


def test_without_redis_a_key_that_is_remembered_passes_and_no_other(
    serve: Serve, store: KeyStore, clock: Clock
) -> None:
    text, _ = issue(store)
    other, _ = issue(store)
    with serve() as client:
        assert ask(client, "/read", text).status_code == 200
        app: Any = client.app
        app.state.access._redis = connect_async(NOWHERE)
        assert ask(client, "/read", text).status_code == 200
        assert problem_of(ask(client, "/read", other)) == (503, "queue-unreachable")
        clock.now += CACHE_S
        assert problem_of(ask(client, "/read", text)) == (503, "queue-unreachable")


def test_wrong_keys_are_slowed_down_without_shutting_out_good_ones(serve: Serve, store: KeyStore, clock: Clock) -> None:
    text, _ = issue(store)
    fresh, _ = issue(store)
    with serve() as client:
        assert ask(client, "/read", text).status_code == 200
        statuses = [ask(client, "/read", keys.make_key("guess")[0]).status_code for _ in range(30)]
        assert statuses == [401] * 30
        refused = ask(client, "/read", keys.make_key("guess")[0])
        assert problem_of(refused) == (429, "rate-limited")
        assert refused.headers["Retry-After"] == "2"
        assert ask(client, "/read", text[:-1] + ("A" if text[-1] != "A" else "B")).status_code == 429
        assert [ask(client, "/read", good).status_code for good in (text, fresh)] == [200, 200]
        clock.now += 2
        assert ask(client, "/read", keys.make_key("guess")[0]).status_code == 401


def test_a_key_may_ask_as_often_as_its_rate_says_and_others_do_not_suffer(
    serve: Serve, store: KeyStore, quiet: Endpoints
) -> None:
    text, key = issue(store, rate=1, tenant="studio")
    other, _ = issue(store, rate=1, tenant="lab")
    redis: Any = connect(quiet.redis_url)

    def pass_time(milliseconds: int) -> None:
        spent = int(redis.get(RATE_KEY_PREFIX + key.id))
        redis.set(RATE_KEY_PREFIX + key.id, spent - milliseconds * 1000)

    with serve() as client:
        assert [ask(client, "/read", text).status_code for _ in range(10)] == [200] * 10
        refused = ask(client, "/read", text)
        assert problem_of(refused) == (429, "rate-limited")
        retry_s = int(refused.headers["Retry-After"])
        assert 30 < retry_s <= 60
        assert f"try again in {retry_s} s" in refused.json()["detail"]
        assert ask(client, "/read", other).status_code == 200
        pass_time(retry_s * 1000 - 30_000)
        assert ask(client, "/read", text).status_code == 429
        pass_time(30_000)
        assert [ask(client, "/read", text).status_code for _ in range(2)] == [200, 429]
    assert 0 < redis.pttl(RATE_KEY_PREFIX + key.id) <= 600_000
    redis.close()


@pytest.mark.parametrize(("default", "rate", "passed"), [(1, None, 10), (0, 1, 10), (1, 0, 20), (44, None, 11)])
def test_a_key_has_the_default_rate_unless_it_has_one_of_its_own_and_0_is_none(
    serve: Serve, store: KeyStore, default: int, rate: int | None, passed: int
) -> None:
    text, _ = issue(store, rate=rate)
    with serve(api_rate_per_minute=default) as client:
        statuses = [ask(client, "/read", text).status_code for _ in range(20)]
    assert statuses[:passed] == [200] * passed
    assert statuses[passed : passed + 1] in ([429], [])


def test_a_clock_that_was_set_back_shuts_nobody_out(quiet: Endpoints) -> None:
    redis: Any = connect(quiet.redis_url)
    redis.set(RATE_KEY_PREFIX + "abc", int((time.time() + 10**9) * 1_000_000))
    call = spend("abc", 1)
    assert redis.register_script(call.script)(keys=call.keys, args=call.args) == 60_000
    redis.close()


def test_an_open_api_that_others_reach_says_so_at_start(serve: Serve) -> None:
    with structlog.testing.capture_logs() as lines, serve(api_auth="open", api_host="0.0.0.0"):
        pass
    assert [line["action"] for line in lines] == ["access"]
    assert "0.0.0.0" in lines[0]["event"]
    assert "SEEDMILL_API_AUTH=open" in lines[0]["event"]


def test_an_api_that_nobody_has_a_key_for_says_how_to_make_one(serve: Serve, store: KeyStore) -> None:
    with structlog.testing.capture_logs() as lines, serve(api_auth="auto", api_host="0.0.0.0"):
        pass
    assert ["seedmill keys create" in line["event"] for line in lines] == [True]
    issue(store)
    with structlog.testing.capture_logs() as lines, serve(), serve(api_auth="auto"), serve(redis_url=NOWHERE):
        pass
    assert lines == []


def test_a_job_is_its_tenants_and_an_admins_to_see() -> None:
    now, counts = datetime.now(UTC), Counts(1, 1, 0, 0, 0, 0)
    job = JobRecord("j", JobStatus.QUEUED, counts, 1, now, None, None, now, tenant="studio")
    scopes = frozenset({Scope.READ, Scope.SUBMIT})
    assert Caller("studio", scopes, "", "").may_see(job)
    assert not Caller("lab", scopes, "", "").may_see(job)
    assert not Caller("studio", scopes, "", "").may_see(replace(job, tenant=""))
    assert Caller("lab", frozenset({Scope.ADMIN}), "", "").may_see(job)
    assert ANYBODY.may_see(job)


def test_the_scheme_is_in_the_description_of_the_api(serve: Serve) -> None:
    with serve() as client:
        document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert document["paths"]["/read"]["get"]["security"] == [{"HTTPBearer": []}]
