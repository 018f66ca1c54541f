"""The clients over HTTP against a server that answers badly: what is sent again, what is raised, what is said."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from producer import Client, errors, http_retries
from producer.http_backend import AsyncHttpBackend, HttpBackend
from producer.http_calls import Call, Request, _retry_after_s
from producer.settings import HttpSettings
from tests.unit.scripted_api import JOB, KEY, LETTER, SILENCE, Ask, answer, document, problem, scripted
from worker.local.process import free_port


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_retries, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(http_retries, "JITTER_S", 0.0)


def test_a_rate_limit_is_waited_for_as_long_as_it_says(ask: Ask) -> None:
    with scripted(problem("rate-limited", 429, Retry_After="1"), document(JOB)) as api:
        began = time.monotonic()
        assert ask(api.url, "get", "mine").counts.total == 3
        assert time.monotonic() - began >= 1
    assert [asked.target for asked in api.asked] == ["/v1/jobs/mine"] * 2


def test_a_rate_limit_that_lasts_too_long_is_told_at_once(ask: Ask) -> None:
    with (
        scripted(problem("rate-limited", 429, Retry_After="31")) as api,
        pytest.raises(errors.RateLimited, match="so it is") as caught,
    ):
        ask(api.url, "get", "mine")
    assert (caught.value.retry_after_s, len(api.asked)) == (31, 1)


@pytest.mark.parametrize(("name", "status"), [("queue-full", 503), ("share-full", 429)])
def test_a_full_queue_is_told_at_once_and_when_there_is_room(ask: Ask, name: str, status: int) -> None:
    with (
        scripted(problem(name, status, Retry_After="2")) as api,
        pytest.raises(errors.QueueFull) as caught,
    ):
        ask(api.url, "submit", 1)
    assert (caught.value.retry_after_s, caught.value.problem, len(api.asked)) == (2, name, 1)


@pytest.mark.parametrize(
    "reply",
    [
        problem("queue-unreachable", 503),
        *(answer(status, b"<html>no</html>", "text/html") for status in (408, 425, 502, 504, 520, 524)),
    ],
)
def test_an_outage_is_bridged_by_a_few_attempts_and_then_told(ask: Ask, reply: bytes) -> None:
    with scripted(reply, reply, document(JOB)) as api:
        assert ask(api.url, "submit", range(3), job_id="mine").id == "mine"
    bodies = {asked.body for asked in api.asked}
    assert (len(api.asked), len(bodies)) == (3, 1)
    with (
        scripted(reply) as api,
        pytest.raises(errors.QueueUnreachable),
    ):
        ask(api.url, "get", "mine")
    assert len(api.asked) == http_retries.ATTEMPTS


def test_a_server_that_is_not_there_is_named_with_what_to_do(ask: Ask) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(errors.QueueUnreachable, match=f"the API at {url} does not answer.*SEEDMILL_API_URL") as caught:
        ask(url, "get", "mine")
    assert KEY not in str(caught.value)


def test_an_answer_that_is_cut_off_is_asked_for_again(ask: Ask) -> None:
    with scripted(document(JOB)[:-20], document(JOB)) as api:
        assert ask(api.url, "cancel", "mine").id == "mine"
    assert [asked.method for asked in api.asked] == ["POST", "POST"]


@pytest.mark.parametrize("reply", [document(LETTER)[:-20], b"", problem("queue-unreachable", 503)])
def test_a_replay_whose_answer_was_lost_is_not_sent_again(ask: Ask, reply: bytes) -> None:
    with scripted(reply or b"HTTP/1.1") as api, pytest.raises(errors.QueueUnreachable):
        ask(api.url, "replay", "x")
    assert len(api.asked) == 1


def test_a_replay_that_was_refused_for_its_rate_is_sent_again(ask: Ask) -> None:
    with scripted(problem("rate-limited", 429), document(LETTER)) as api:
        assert ask(api.url, "replay", "x").seeds == (1,)
    assert len(api.asked) == 2


@pytest.mark.parametrize("kind", [HttpBackend, AsyncHttpBackend])
def test_a_server_that_is_too_slow_does_not_answer(kind: type) -> None:
    call = Call(Request("POST", "/v1/x", repeatable=False, answer_s=0.1), lambda value: value)
    with scripted(SILENCE) as api, pytest.raises(errors.QueueUnreachable, match=r"ReadTimeout|timed out"):
        settle(kind(HttpSettings.load(api_url=api.url)).run(call))


@pytest.mark.parametrize("kind", [HttpBackend, AsyncHttpBackend])
def test_an_answer_that_was_held_for_long_and_then_lost_is_asked_for_again(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_retries, "RETRYING_S", 0.4)
    call = Call(Request("GET", "/v1/x", answer_s=0.5), lambda value: value["id"])
    with scripted(SILENCE, document(JOB)) as api:
        assert settle(kind(HttpSettings.load(api_url=api.url)).run(call)) == "mine"
    assert len(api.asked) == 2


def settle(value: Any) -> Any:
    return asyncio.run(value) if asyncio.iscoroutine(value) else value


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b"{'id'", "application/json"),
        answer(200, b"<html>Please log in</html>", "text/html"),
        answer(200, b"[" * 100_000, "application/json"),
        document([1, 2]),
        document({**JOB, "status": "dreaming"}),
        document({**JOB, "counts": None}),
        document({**JOB, "created_at": "yesterday"}),
    ],
)
def test_an_answer_that_is_none_of_the_api_is_told_as_that(ask: Ask, reply: bytes) -> None:
    with (
        scripted(reply) as api,
        pytest.raises(errors.QueueUnreachable, match=f"{api.url} answered with status 200, but not as the API"),
    ):
        ask(api.url, "get", "mine")
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, errors.SettingsError), (401, errors.Unauthorized), (404, errors.SettingsError), (500, errors.QueueRefused)],
)
def test_errors_of_what_stands_between_are_told_as_such(
    ask: Ask, status: int, kind: type[errors.SeedmillError]
) -> None:
    with (
        scripted(answer(status, b"<html>no</html>", "text/html")) as api,
        pytest.raises(kind, match=f"status {status}, but not as the API of seedmill"),
    ):
        ask(api.url, "get", "mine")
    assert len(api.asked) == 1


def test_a_redirect_is_told_and_never_followed(ask: Ask) -> None:
    with (
        scripted(document({}, 307, Location="https://me:hush@elsewhere/v1")) as api,
        pytest.raises(errors.SettingsError, match=r"redirects to https://me:\*\*\*@elsewhere/v1"),
    ):
        ask(api.url, "submit", 1)
    assert len(api.asked) == 1


def test_a_key_travels_in_its_header_and_nowhere_else(ask: Ask) -> None:
    with (
        scripted(problem("forbidden", 403, "the scope 'admin' is needed")) as api,
        pytest.raises(errors.Forbidden, match="'admin'") as caught,
    ):
        ask(api.url, "reconcile")
    (asked,) = api.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(caught.value) + asked.target
    with Client(url=api.url, api_key=KEY) as client:
        assert KEY not in repr(vars(client))


@pytest.mark.parametrize("key", ["a b", "ü", "a\nHost: x"])
def test_a_key_that_can_be_none_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(errors.SettingsError, match="SEEDMILL_API_KEY") as caught:
        Client(url="http://127.0.0.1:8000", api_key=key)
    assert key not in str(caught.value)


def test_a_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert _retry_after_s("7") == 7
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 98 <= (_retry_after_s(soon) or 0) <= 100
    assert _retry_after_s(format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)) == 0
    for text in ("", "soon", "-1", "²", "Wed, 99 Foo 2026 00:00:00 GMT"):
        assert _retry_after_s(text) is None
