"""The stream of a job's events: nothing lost, nothing twice, wherever it is gone on from."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from producer.api import access, changes, events
from producer.api.waiting import Waiting
from producer.contract import SeedStatus, job_key
from producer.keys import KeyStore, make_key
from tests.integration.api import Event, api_settings, asking, read_events, run, serving
from tests.integration.conftest import Hand
from worker.local.stack import Endpoints

SEEDS = (5, 6, 7, 8, 9)


def lasting(events: list[Event]) -> list[tuple[str | None, str, object]]:
    """Return what does not depend on when it was told."""
    return [(one.id, one.name, one.data["seed" if one.name == "result" else "status"]) for one in events if one.id]


async def stream(api: httpx2.AsyncClient, job_id: str, last: str = "", **query: str) -> list[Event]:
    answer = await api.get(f"/v1/jobs/{job_id}/events", params=query, headers={"Last-Event-ID": last} if last else {})
    if answer.status_code == 204:
        return []
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    assert answer.text.startswith("retry: 2000\n\n")
    return read_events(answer.text)


def test_a_stream_goes_on_after_any_event_with_the_rest(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
            await asyncio.to_thread(hand.finish, "job", SEEDS, bad=(6,))
            whole = await stream(api, "job")
            assert whole[0].name == "progress"
            assert whole[0].id is None
            told = lasting(whole)
            assert [value for _, _, value in told] == ["running", *SEEDS, "failed"]
            assert whole[-1].data["counts"]["failed"] == 1
            for place, (event_id, _, _) in enumerate(told):
                assert lasting(await stream(api, "job", str(event_id))) == told[place + 1 :]
                assert lasting(await stream(api, "job", last_event_id=str(event_id))) == told[place + 1 :]
            statuses = await stream(api, "job", results="false")
            assert [value for _, _, value in lasting(statuses)] == ["running", "failed"]

    run(main)


def test_results_in_the_stream_are_those_of_the_pages(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
            await asyncio.to_thread(hand.finish, "job", SEEDS)
            events = [one.data for one in await stream(api, "job") if one.name == "result"]
            assert events == (await api.get("/v1/jobs/job/results")).json()["data"]
            assert events[0]["status"] == SeedStatus.SUCCEEDED

    run(main)


def test_a_stream_tells_of_what_happens_while_it_is_open_and_ends_with_the_job(quiet: Endpoints, hand: Hand) -> None:
    with (
        serving(api_settings(quiet)) as url,
        httpx2.Client(base_url=url, timeout=20) as api,
        ThreadPoolExecutor() as pool,
    ):
        path = "/v1/jobs/job/events"
        api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
        others = [pool.submit(httpx2.get, url + path, timeout=20) for _ in range(4)]
        with api.stream("GET", path) as answer:
            parts = answer.iter_text()
            text = next(parts)
            hand.finish("job", SEEDS, chunks=1)
            while not any(one.data["counts"]["succeeded"] == 2 for one in read_events(text) if one.name == "progress"):
                text += next(parts)
            assert '"seed":6' in text
            hand.finish("job", SEEDS)
            text += "".join(parts)
        for stream_text in (text, *(other.result().text for other in others)):
            assert [value for _, _, value in lasting(read_events(stream_text))] == ["running", *SEEDS, "succeeded"]


def test_a_canceled_job_ends_its_streams(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
            open_ = asyncio.create_task(stream(api, "job"))
            await asyncio.sleep(0.1)
            await api.post("/v1/jobs/job/cancel")
            assert [value for _, _, value in lasting(await open_)] == ["canceled"]

    run(main)


def test_a_job_that_runs_again_goes_on_in_its_stream(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seed": 5})
            await asyncio.to_thread(hand.finish, "job", (5,), bad=(5,))
            first = lasting(await stream(api, "job"))
            await api.post("/v1/dead-letters/job/replay")
            await asyncio.to_thread(hand.finish, "job", (5,))
            rest = lasting(await stream(api, "job", str(first[-1][0])))
            assert [value for _, _, value in first] == ["running", 5, "failed"]
            assert [value for _, _, value in rest] == ["running", 5, "succeeded"]
            assert lasting(await stream(api, "job")) == [first[0], first[2], *rest], "what was replaced is not told"

    run(main)


def test_what_ends_after_its_job_was_cancelled_is_told_while_it_may_come(
    quiet: Endpoints, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
            (message, *_) = await asyncio.to_thread(hand.take, 2)
            await asyncio.to_thread(hand.begin, message)
            await api.post("/v1/jobs/job/cancel")
            open_ = asyncio.create_task(stream(api, "job", "2"))
            await asyncio.sleep(0.1)
            assert not open_.done()
            await asyncio.to_thread(hand.record, message, ())
            assert [value for _, _, value in lasting(await open_)] == [5, 6]
            assert await stream(api, "job", "3.1") == []

    run(main)


def test_a_canceled_job_whose_worker_died_ends_its_streams_too(
    quiet: Endpoints, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LINGER_S", 0.2)
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.1)

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
            (message, *_) = await asyncio.to_thread(hand.take, 2)
            await asyncio.to_thread(hand.begin, message)
            await api.post("/v1/jobs/job/cancel")
            assert [value for _, _, value in lasting(await stream(api, "job"))] == ["running", "canceled"]
            assert await stream(api, "job", "2") == []

    run(main)


def test_a_reader_without_results_is_told_that_nothing_follows(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
            messages = await asyncio.to_thread(hand.take)
            for message in messages:
                await asyncio.to_thread(hand.begin, message)
            await api.post("/v1/jobs/job/cancel")
            for message in messages:
                await asyncio.to_thread(hand.record, message, ())
            assert lasting(await stream(api, "job", "2"))
            assert await stream(api, "job", "2", results="false") == []

    run(main)


@pytest.mark.parametrize("last", ["9", "9.1", "1.1", "end"])
def test_an_id_of_an_earlier_life_of_the_job_begins_again(quiet: Endpoints, hand: Hand, last: str) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
            await asyncio.to_thread(hand.finish, "job", SEEDS)
            assert lasting(await stream(api, "job", last)) == lasting(await stream(api, "job"))

    run(main)


def test_an_expired_job_is_told_once(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seed": 5})
            await asyncio.to_thread(hand.finish, "job", (5,))
            before = lasting(await stream(api, "job"))
            hand.client._redis.hset(job_key("job"), "expires_ms", 1)
            for last in (None, before[-1][0]):
                told = lasting(await stream(api, "job", last or ""))
                assert told[-1] == ("end", "status", "expired")
                assert [value for _, _, value in told].count("expired") == 1
            assert await stream(api, "job", "end") == []

    run(main)


async def places_taken(api: httpx2.AsyncClient, number: int) -> None:
    """Return once so many wait."""
    waiting: Waiting = api._transport.app.state.services.waiting  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while waiting._taken.total() < number:
            await asyncio.sleep(0.01)


def test_streams_and_waits_have_places_and_end_with_their_key(
    quiet: Endpoints, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "CACHE_S", 0)
    monkeypatch.setattr(changes, "POLL_S", 0.1)
    text, key = make_key("reader")
    with KeyStore(quiet.redis_url) as store:
        store.add(key)

    async def main() -> None:
        settings = api_settings(quiet, api_auth="required", api_max_waiting=8)
        async with asking(settings) as api:
            api.headers["Authorization"] = f"Bearer {text}"
            await api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
            held = [asyncio.create_task(api.get("/v1/jobs/job?wait=20"))]
            held.append(asyncio.create_task(api.get("/v1/jobs/job/events")))
            await places_taken(api, 2)
            for path in ("/v1/jobs/job?wait=20", "/v1/jobs/job/events"):
                refused = await api.get(path)
                assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
            assert (await api.get("/v1/jobs/job")).status_code == 200
            unwaited = await api.post("/v1/jobs", json={"seed": 1}, headers={"Prefer": "wait=20"})
            assert unwaited.status_code == 202
            with KeyStore(quiet.redis_url) as store:
                store.revoke(key.id)
            waited, streamed = await asyncio.gather(*held)
            assert (waited.status_code, streamed.status_code) == (401, 200)
            assert [one.name for one in read_events(streamed.text)] == ["progress"]

    run(main)


@pytest.mark.parametrize("last", ["x", "0", "1.", "1234567890", "1.2.3", "-1", "1-1"])
def test_the_id_of_no_event_is_refused(quiet: Endpoints, last: str) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seed": 5})
            answer = await api.get("/v1/jobs/job/events", headers={"Last-Event-ID": last})
            assert answer.status_code == 422
            assert repr(last)[:20] in answer.json()["detail"]
            assert (await api.get("/v1/jobs/none/events")).status_code == 404

    run(main)


def test_streams_and_waits_end_with_the_server_and_with_their_callers(quiet: Endpoints) -> None:
    with serving(api_settings(quiet)) as url, httpx2.Client(base_url=url, timeout=20) as api:
        api.put("/v1/jobs/job", json={"seeds": list(SEEDS)})
        with api.stream("GET", "/v1/jobs/job/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 2000"
            assert "seedmill_api_streams 1.0" in api.get("/metrics").text
        with pytest.raises(httpx2.ReadTimeout):
            api.get("/v1/jobs/job?wait=30", timeout=0.2)
        until = time.monotonic() + 2
        while "seedmill_api_waiters 0.0" not in (text := api.get("/metrics").text):
            assert time.monotonic() < until, text
        assert "seedmill_api_streams 0.0" in text
