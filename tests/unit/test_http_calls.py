"""What the clients send to the API, and what they make of its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from producer import AsyncClient, Client, errors
from producer import http_calls as calls
from producer.contract import Priority
from producer.message import SeedResult
from producer.settings import ProducerSettings
from producer.submission import Submission
from producer.tracing import pack
from tests.unit.scripted_api import JOB, LETTER, Ask, ScriptedApi, document, problem, scripted


def body_of(api: ScriptedApi) -> Any:
    (asked,) = api.asked
    assert (asked.method, asked.target) == ("PUT", "/v1/jobs/mine")
    return json.loads(asked.body)


def test_a_submit_says_what_the_caller_said_and_leaves_the_rest_to_the_api(ask: Ask) -> None:
    with scripted(document(JOB, 202)) as api:
        ask(api.url, "submit", range(5, 8), job_id="mine")
    assert body_of(api) == {"range": "5..7"}
    with scripted(document(JOB, 202)) as api:
        ask(api.url, "submit", range(0, 6, 2), job_id="mine", priority="interactive", force=True)
    assert body_of(api) == {"seeds": [0, 2, 4], "priority": "interactive", "force": True}
    with scripted(document(JOB, 202)) as api, Client(url=api.url, chunk_size=2) as client:
        client.submit(7, job_id="mine")
    assert body_of(api) == {"seeds": [7], "chunk_size": 2}


def test_what_is_kept_with_a_job_travels_with_its_submit(ask: Ask) -> None:
    with scripted(document({**JOB, "metadata": {"order": 7}}, 202)) as api:
        job = ask(api.url, "submit", 7, job_id="mine", metadata={"order": 7}, webhook="https://shop.example/done")
    assert body_of(api) == {"seeds": [7], "metadata": {"order": 7}, "webhook": "https://shop.example/done"}
    assert (job.metadata, job.priority) == ({"order": 7}, Priority.BULK)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metadata": ["a"]}, r"metadata=\['a'\]: give a mapping"),
        ({"metadata": {"a": {1, 2}}}, "cannot be written as JSON"),
        ({"metadata": {"a": float("nan")}}, "cannot be written as JSON"),
        ({"metadata": {"a": "\ud800"}}, "cannot be written as JSON"),
        ({"metadata": {"a": "x" * 8192}}, "metadata has 8200 bytes as JSON, more than 8192"),
        ({"webhook": "shop.example"}, "webhook='shop.example' is not a URL"),
        ({"webhook": "ftp://shop.example"}, "is not a URL"),
        ({"webhook": 5}, "webhook=5 is not a URL"),
    ],
)
def test_what_cannot_be_kept_with_a_job_is_told_before_anything_is_sent(
    ask: Ask, options: dict[str, Any], words: str
) -> None:
    with scripted(document(JOB)) as api, pytest.raises(errors.SettingsError, match=words):
        ask(api.url, "submit", 1, **options)
    assert not api.asked


def test_the_trace_of_a_submit_travels_in_its_headers() -> None:
    trace = pack({"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "tracestate": "x=y"})
    submission = Submission.check(1, "mine", ProducerSettings.load())
    headers = calls.submit(submission, trace).request.headers
    assert headers == {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "tracestate": "x=y"}
    assert calls.submit(submission, "").request.headers == {}


def results(*seeds: int, after: str | None) -> bytes:
    data = [{"seed": seed, "status": "succeeded", "image_url": f"https://s3.example/{seed}"} for seed in seeds]
    return document({"data": data, "has_more": after is not None, "next": after})


def read_blocking(url: str) -> list[SeedResult]:
    with Client(url=url) as client:
        return list(client.get("mine").results())


def read_async(url: str) -> list[SeedResult]:
    async def run() -> list[SeedResult]:
        async with AsyncClient(url=url) as client:
            return [result async for result in (await client.get("mine")).results()]

    return asyncio.run(run())


@pytest.mark.parametrize("read", [read_blocking, read_async])
def test_results_come_page_by_page_with_the_urls_that_the_api_signed(read: Callable[[str], list[SeedResult]]) -> None:
    with scripted(document(JOB), results(3, 1, after="x/y"), results(after="z"), results(2, after=None)) as api:
        found = read(api.url)
    assert [(one.seed, one.image_url) for one in found] == [(seed, f"https://s3.example/{seed}") for seed in (3, 1, 2)]
    pages = [asked.target.partition("?")[2] for asked in api.asked[1:]]
    assert pages == ["limit=1000", "limit=1000&after=x%2Fy", "limit=1000&after=z"]
    assert "image_url" not in found[0].to_dict()


@pytest.mark.parametrize("ask_for", ["wait", "watch"])
def test_waiting_lets_the_server_hold_its_answers(ask_for: str) -> None:
    done = {**JOB, "status": "succeeded"}
    with scripted(document(JOB), document(JOB), document(done)) as api, Client(url=api.url) as client:
        job = client.get("mine")
        if ask_for == "wait":
            job.wait(timeout=20)
        else:
            assert [str(seen.status) for seen in job.watch(timeout=20)] == ["queued", "succeeded"]
    held = [asked.target.partition("?")[2] for asked in api.asked[1:]]
    assert held == (["wait=20", "wait=19"] if ask_for == "wait" else ["wait=1", "wait=1"])


def test_purging_counts_what_was_there_and_asks_for_all_at_once(ask: Ask) -> None:
    with scripted(document({"purged": 1}), problem("dead-letter-not-found", 404), document({"purged": 1})) as api:
        assert ask(api.url, "purge", ["a", "b", "c"]) == 2
    with scripted(document({"purged": 7})) as api:
        assert ask(api.url, "purge") == 7
        assert ask(api.url, "purge", []) == 0
    assert [(asked.method, asked.target) for asked in api.asked] == [("DELETE", "/v1/dead-letters?all=true")]


def test_purging_all_is_not_repeated_as_others_may_have_come(ask: Ask) -> None:
    with scripted(problem("queue-unreachable", 503)) as api, pytest.raises(errors.QueueUnreachable):
        ask(api.url, "purge")
    assert len(api.asked) == 1


@pytest.mark.parametrize("limit", [0, -1, "7", None])
def test_a_number_of_dead_letters_that_is_none_is_refused_before_anything_is_sent(ask: Ask, limit: Any) -> None:
    with scripted(document({"data": []})) as api, pytest.raises(errors.SettingsError, match=f"limit={limit!r}"):
        ask(api.url, "dead_letters", limit)
    assert not api.asked
    with Client("redis://127.0.0.1:1") as client, pytest.raises(errors.SettingsError, match=f"limit={limit!r}"):
        client.dead_letters(limit)


@pytest.mark.parametrize(("letter", "target"), [("a/b?c#d", "a%2Fb%3Fc%23d"), ("..", "%2E%2E"), ("\x1b[", "%1B%5B")])
def test_the_id_of_a_letter_is_one_segment_of_the_path_whatever_is_in_it(ask: Ask, letter: str, target: str) -> None:
    with scripted(document(LETTER)) as api:
        ask(api.url, "dead_letter", letter)
    assert [asked.target for asked in api.asked] == [f"/v1/dead-letters/{target}"]


def test_an_url_with_a_path_is_the_beginning_of_all_paths(ask: Ask) -> None:
    with scripted(document(JOB)) as api:
        ask(f"{api.url}/mill/", "get", "mine")
    assert [asked.target for asked in api.asked] == ["/mill/v1/jobs/mine"]
