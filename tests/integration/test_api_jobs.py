"""Jobs over HTTP, on a real Valkey; the worker's part is done by hand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from producer import Client
from producer.api import submit
from producer.api.jobs import Jobs
from producer.contract import job_key
from producer.errors import JobNotFound, QueueRefused, SettingsError
from producer.keys import Scope
from producer.problems import MEDIA_TYPE, TYPE_PREFIX
from tests.integration.api import api_settings, asking, new_key, read_events, run
from tests.integration.conftest import Hand
from worker.local.stack import Endpoints


def problem_of(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and name of the problem that an answer tells of."""
    assert answer.headers["content-type"] == MEDIA_TYPE
    document = answer.json()
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["status"] == answer.status_code
    return answer.status_code, document["type"].removeprefix(TYPE_PREFIX)


@pytest.mark.parametrize(("body", "seeds"), [({"seed": 7}, 1), ({"seeds": [3, 1, 3]}, 3), ({"range": "0..999"}, 1000)])
def test_seeds_become_a_job_that_the_clients_of_redis_see(quiet: Endpoints, body: dict[str, Any], seeds: int) -> None:
    async def main() -> httpx2.Response:
        async with asking(api_settings(quiet)) as api:
            return await api.post("/v1/jobs", json={**body, "metadata": {"for": ["a", 1]}, "priority": "bulk"})

    answer = run(main)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["urls"]["self"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["retry-after"] == "1"
    assert job["urls"].get("image") == ("/v1/images/7" if seeds == 1 else None)
    with Client(quiet.redis_url) as client:
        seen = client.get(job["id"])
        assert (seen.counts.total, seen.metadata, seen.priority) == (seeds, {"for": ["a", 1]}, "bulk")


def test_a_wrong_body_is_a_problem_and_enqueues_nothing(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet, api_max_body_bytes=2500)) as api:
            assert problem_of(await api.post("/v1/jobs", json={"seeds": [1, True]})) == (422, "invalid-seed")
            assert problem_of(await api.put("/v1/jobs/a", content=b"{")) == (422, "invalid-request")
            long = await api.post("/v1/jobs", json={"seeds": [1] * 2000})
            assert problem_of(long) == (413, "body-too-large")
            assert "2500 are taken" in long.json()["detail"]
            assert (await api.get("/v1/queue")).json()["active_jobs"] == 0

    run(main)


def test_a_body_whose_length_is_not_told_is_measured_as_it_comes(quiet: Endpoints) -> None:
    async def parts() -> Any:
        for _ in range(3):
            yield b" " * 1000

    async def main() -> None:
        async with asking(api_settings(quiet, api_max_body_bytes=2500)) as api:
            assert problem_of(await api.post("/v1/jobs", content=parts())) == (413, "body-too-large")

    run(main)


def test_a_job_belongs_to_the_trace_of_its_request(quiet: Endpoints, hand: Hand) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
            await api.put("/v1/jobs/traced", json={"seed": 1}, headers=headers)
            assert trace in str(hand.client._redis.hget(job_key("traced"), "trace"))

    run(main)


def test_an_id_of_the_callers_own_makes_one_job(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            made = [await api.put("/v1/jobs/mine", json={"seeds": [1, 2]}) for _ in range(2)]
            assert [one.status_code for one in made] == [202, 200]
            assert made[0].json()["id"] == made[1].json()["id"] == "mine"
            assert problem_of(await api.put("/v1/jobs/mine", json={"seed": 3})) == (409, "job-conflict")
            assert problem_of(await api.put("/v1/jobs/not%20mine", json={"seed": 3})) == (422, "invalid-job-id")
            assert problem_of(await api.get("/v1/jobs/not%00mine")) == (404, "job-not-found")
            assert (await api.get("/v1/queue")).json()["active_jobs"] == 1

    run(main)


def test_who_waits_is_answered_as_soon_as_the_job_has_ended(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": [1, 2]})
            began = time.monotonic()
            waiting = [asyncio.create_task(api.get("/v1/jobs/job?wait=30")) for _ in range(50)]
            preferring = asyncio.create_task(
                api.put("/v1/jobs/job", json={"seeds": [1, 2]}, headers={"Prefer": "respond-async, wait=30"})
            )
            await asyncio.sleep(0.2)
            await asyncio.to_thread(hand.finish, "job", (1, 2), bad=(2,))
            answers = await asyncio.gather(*waiting)
            assert time.monotonic() - began < 15
            for job in (one.json() for one in answers):
                assert job["status"] == "failed"
                assert job["error"]["message"].startswith("1 of 2 seeds failed")
            assert (await preferring).headers["preference-applied"] == "wait=30"
            assert (await preferring).json()["status"] == "failed"

    run(main)


def test_a_job_of_one_seed_has_its_result_where_it_is_read_alone(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            made = (await api.put("/v1/jobs/one", json={"seed": 7})).json()
            assert (made["seed"], made["result"]) == (7, None)
            await asyncio.to_thread(hand.finish, "one", (7,))
            again = (await api.put("/v1/jobs/one", json={"seed": 7})).json()
            read = (await api.get("/v1/jobs/one?wait=1")).json()
            (result,) = (await api.get("/v1/jobs/one/results")).json()["data"]
            for job in (again, read):
                assert (job["seed"], job["result"]["seed"], job["result"].keys()) == (7, 7, result.keys())
            (listed,) = (await api.get("/v1/jobs")).json()["data"]
            assert (listed["seed"], listed["result"]) == (7, None)
            events = read_events((await api.get("/v1/jobs/one/events")).text)
            assert {event.data["result"] for event in events if event.name == "status"} == {None}
            await api.put("/v1/jobs/two", json={"seeds": [7, 8]})
            await asyncio.to_thread(hand.finish, "two", (7, 8))
            several = (await api.get("/v1/jobs/two")).json()
            assert (several["status"], several["seed"], several["result"]) == ("succeeded", None, None)

    run(main)


def test_an_answer_that_is_given_again_has_urls_that_are_signed_anew(
    quiet: Endpoints, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            headers = {"Idempotency-Key": "k", "Prefer": "wait=30"}
            posting = asyncio.create_task(api.post("/v1/jobs", json={"seed": 7}, headers=headers))
            while not (found := (await api.get("/v1/jobs")).json()["data"]):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(hand.finish, found[0]["id"], (7,))
            first = (await posting).json()
            monkeypatch.setattr("producer.api.documents.Documents._sign", lambda *_: "signed anew")
            again = (await api.post("/v1/jobs", json={"seed": 7}, headers=headers)).json()
            assert (first["result"]["image_url"], again["result"]["image_url"]) == (None, "signed anew")
            assert again["result"]["caption"] == first["result"]["caption"]

    run(main)


def test_who_waits_in_vain_is_told_how_it_stands_and_when_to_come_again(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            answer = await api.post("/v1/jobs", json={"seed": 1}, headers={"Prefer": "wait=1"})
            assert (answer.status_code, answer.json()["status"]) == (202, "queued")
            assert answer.headers["preference-applied"] == "wait=1"
            again = await api.get(answer.headers["location"], params={"wait": 0})
            assert (again.status_code, again.headers["retry-after"]) == (200, "1")
            assert problem_of(await api.get(answer.headers["location"], params={"wait": 61})) == (
                422,
                "invalid-request",
            )

    run(main)


def test_results_come_in_pages_that_make_up_the_whole(quiet: Endpoints, hand: Hand) -> None:
    seeds = tuple(range(11))

    async def pages(api: httpx2.AsyncClient, limit: int) -> list[int]:
        found: list[int] = []
        after: str | None = None
        while True:
            query: dict[str, str | int] = {"limit": limit, **({"after": after} if after else {})}
            page = (await api.get("/v1/jobs/job/results", params=query)).json()
            found += [one["seed"] for one in page["data"]]
            assert len(page["data"]) <= limit
            assert page["has_more"] == (page["next"] is not None)
            if not page["has_more"]:
                return found
            after = page["next"]

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seeds": list(seeds)})
            assert await pages(api, 3) == []
            await asyncio.to_thread(hand.finish, "job", seeds, chunks=2)
            assert await pages(api, 3) == [0, 1, 2, 3]
            await asyncio.to_thread(hand.finish, "job", seeds)
            for limit in (1, 2, 3, 4, 10, 11, 12, 1000):
                assert await pages(api, limit) == list(seeds)
            for query in ({"after": "x"}, {"limit": 0}, {"limit": 1001}):
                assert (await api.get("/v1/jobs/job/results", params=query)).status_code == 422
            assert (await api.get("/v1/jobs/job/results", params={"after": "999999.0"})).json()["data"] == []

    run(main)


def test_results_that_redis_has_lost_are_gone(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"seed": 1})
            await asyncio.to_thread(hand.finish, "job", (1,))
            hand.client._redis.delete("celery-task-meta-job")
            assert problem_of(await api.get("/v1/jobs/job/results")) == (410, "results-lost")

    run(main)


def test_jobs_are_listed_newest_first_and_by_status(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for number in range(7):
                await api.put(f"/v1/jobs/job{number}", json={"seed": number})
                await asyncio.sleep(0.002)  # two of one millisecond are in no order
            assert (await api.post("/v1/jobs/job3/cancel")).json()["status"] == "canceled"
            first = (await api.get("/v1/jobs", params={"limit": 4})).json()
            second = (await api.get("/v1/jobs", params={"limit": 4, "after": first["next"]})).json()
            assert [job["id"] for job in first["data"] + second["data"]] == [f"job{n}" for n in range(6, -1, -1)]
            assert (first["has_more"], second["has_more"]) == (True, False)
            assert first["data"][0]["urls"]["image"] == "/v1/images/6"
            canceled = (await api.get("/v1/jobs", params={"limit": 1, "status": "canceled"})).json()
            assert [job["id"] for job in canceled["data"]] == ["job3"]
            assert problem_of(await api.get("/v1/jobs", params={"after": "x"})) == (422, "invalid-setting")

    run(main)


def test_the_jobs_of_another_tenant_are_as_if_there_were_none(quiet: Endpoints) -> None:
    scopes = {
        "ann": [Scope.SUBMIT, Scope.READ],
        "bob": [Scope.SUBMIT, Scope.READ],
        "root": [Scope.ADMIN],
    }
    keys = {name: {"Authorization": f"Bearer {new_key(quiet, *some, tenant=name)}"} for name, some in scopes.items()}

    async def main() -> None:
        async with asking(api_settings(quiet, api_auth="required")) as api:
            assert problem_of(await api.get("/v1/jobs")) == (401, "unauthorized")
            await api.put("/v1/jobs/anns", json={"seed": 1}, headers=keys["ann"])
            for path in ("", "?wait=5", "/results", "/events"):
                answer = await api.get(f"/v1/jobs/anns{path}", headers=keys["bob"])
                assert problem_of(answer) == (404, "job-not-found")
            answer = await api.post("/v1/jobs/anns/cancel", headers=keys["bob"])
            assert problem_of(answer) == (404, "job-not-found")
            answer = await api.put("/v1/jobs/anns", json={"seed": 1}, headers=keys["bob"])
            assert problem_of(answer) == (409, "job-conflict")
            assert "or is not yours" in answer.json()["detail"]
            seen = {name: (await api.get("/v1/jobs", headers=key)).json()["data"] for name, key in keys.items()}
            assert {name: [job["id"] for job in jobs] for name, jobs in seen.items()} == {
                "ann": ["anns"],
                "bob": [],
                "root": ["anns"],
            }
            assert problem_of(await api.get("/v1/dead-letters", headers=keys["ann"])) == (403, "forbidden")
            assert (await api.get("/healthz")).status_code == 200

    run(main)


def test_a_full_queue_says_when_there_will_be_room(quiet: Endpoints, hand: Hand) -> None:
    seeds = list(range(8))

    async def main() -> None:
        async with asking(api_settings(quiet, api_max_queued_seeds=10)) as api:
            await api.put("/v1/jobs/first", json={"seeds": seeds})
            full = await api.post("/v1/jobs", json={"seeds": [1, 2, 3]})
            assert problem_of(full) == (503, "queue-full")
            assert (full.headers["retry-after"], "nothing is being done" in full.json()["detail"]) == ("60", True)
            await asyncio.sleep(1.1)
            await asyncio.to_thread(hand.finish, "first", tuple(seeds), chunks=1)
            await api.put("/v1/jobs/second", json={"seeds": [1, 2]})
            moving = await api.post("/v1/jobs", json={"seeds": [1, 2, 3]})
            assert problem_of(moving) == (503, "queue-full")
            assert 1 <= int(moving.headers["retry-after"]) <= 10
            never = await api.post("/v1/jobs", json={"range": "0..10"})
            assert problem_of(never) == (422, "invalid-setting")
            metrics = (await api.get("/metrics")).text
            assert 'seedmill_api_refused_total{reason="queue-full"} 2.0' in metrics

    run(main)


def test_a_key_that_has_its_share_leaves_room_for_others(quiet: Endpoints) -> None:
    texts = [new_key(quiet, Scope.SUBMIT, Scope.READ, tenant=name) for name in ("greedy", "modest")]
    headers = [{"Authorization": f"Bearer {text}"} for text in texts]

    async def main() -> None:
        async with asking(api_settings(quiet, api_auth="required", api_max_queued_seeds=10)) as api:
            greedy = [await api.post("/v1/jobs", json={"range": "1..3"}, headers=headers[0]) for _ in range(2)]
            assert greedy[0].status_code == 202
            assert problem_of(greedy[1]) == (429, "share-full")
            assert (await api.post("/v1/jobs", json={"range": "1..3"}, headers=headers[1])).status_code == 202

    run(main)


def test_equal_requests_with_one_key_make_one_job_however_many_come_at_once(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:

            async def post(body: dict[str, Any], key: str = "k") -> httpx2.Response:
                return await api.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})

            answers = await asyncio.gather(*(post({"seeds": [1, 2], "force": False}) for _ in range(20)))
            done = [one for one in answers if one.status_code == 202]
            assert {problem_of(one) for one in answers if one not in done} <= {(409, "key-in-progress")}
            assert len({one.json()["id"] for one in done}) == 1
            assert (await api.get("/v1/queue")).json()["active_jobs"] == 1
            await api.post(f"{done[0].headers['location']}/cancel")
            again = await post({"force": False, "seeds": [1, 2]})
            assert (again.status_code, again.json()) == (202, done[0].json())
            assert again.headers["idempotency-replayed"] == "true"
            assert again.headers["location"] == done[0].headers["location"]
            assert problem_of(await post({"seeds": [1, 2, 3]})) == (422, "key-reused")
            assert problem_of(await post({"seed": 1}, "with space")) == (422, "invalid-request")
            assert (await post({"seed": -1}, "free")).status_code == 422
            assert (await post({"seed": 1}, "free")).status_code == 202

    run(main)


def test_a_request_whose_process_died_goes_on_under_the_same_job(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            headers = {"Idempotency-Key": "k"}
            first = (await api.post("/v1/jobs", json={"seed": 1}, headers=headers)).json()
            (key,) = hand.client._redis.keys("seedmill:idempotency:*")
            hand.client._redis.hdel(key, "answer")  # enqueued, and nobody was told
            assert problem_of(await api.post("/v1/jobs", json={"seed": 1}, headers=headers)) == (409, "key-in-progress")
            hand.client._redis.hset(key, "until_ms", 0)
            second = (await api.post("/v1/jobs", json={"seed": 1}, headers=headers)).json()
            assert second["id"] == first["id"]
            assert (await api.get("/v1/queue")).json()["active_jobs"] == 1

    run(main)


@pytest.mark.parametrize("after", ["enqueue", "open"])
def test_a_key_whose_job_may_be_there_is_never_free_again(
    quiet: Endpoints, hand: Hand, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            headers = {"Idempotency-Key": "k"}
            with monkeypatch.context() as patch:
                patch.setattr(Jobs, "wait", failing(QueueRefused("full") if after == "open" else JobNotFound("x")))
                assert (await api.post("/v1/jobs", json={"seed": 1}, headers=headers)).status_code >= 400
                patch.setattr(submit, "_check", failing(SettingsError("no")))
                assert (await api.post("/v1/jobs", json={"seed": 1}, headers=headers)).status_code == 422
            assert (await api.post("/v1/jobs", json={"seed": 1}, headers=headers)).status_code == 202
            assert (await api.get("/v1/queue")).json()["active_jobs"] == 1

    run(main)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_what_failed_is_a_dead_letter_that_can_be_sent_again_and_forgotten(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for name in ("a", "b", "c"):
                await api.put(f"/v1/jobs/{name}", json={"seed": 1})
                await asyncio.to_thread(hand.finish, name, (1,), bad=(1,))
            letters = (await api.get("/v1/dead-letters")).json()["data"]
            assert {letter["job_id"] for letter in letters} == {"a", "b", "c"}
            assert (await api.get("/v1/dead-letters/a")).json()["failures"][0]["message"] == "bad"
            assert (await api.post("/v1/dead-letters/a/replay")).json()["id"] == "a"
            assert (await api.get("/v1/jobs/a")).json()["status"] == "running"
            assert problem_of(await api.get("/v1/dead-letters/a")) == (404, "dead-letter-not-found")
            assert (await api.delete("/v1/dead-letters/b")).json() == {"purged": 1}
            for query in ("", "?all=false"):
                assert "say ?all=true" in (await api.delete(f"/v1/dead-letters{query}")).json()["detail"]
            assert (await api.delete("/v1/dead-letters?all=true")).json() == {"purged": 1}
            assert (await api.post("/v1/reconcile")).json()["active_jobs"] == 1

    run(main)


def test_a_job_that_has_expired_says_so(quiet: Endpoints, hand: Hand) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/old", json={"seed": 1})
            hand.client._redis.hset(job_key("old"), "expires_ms", 1)
            assert (await api.get("/v1/jobs/old?wait=30")).json()["status"] == "expired"
            stream = await api.get("/v1/jobs/old/events")
            assert json.loads(stream.text.split("data: ")[-1].split("\n")[0])["status"] == "expired"
            again = await api.get("/v1/jobs/old/events", headers={"Last-Event-ID": "end"})
            assert again.status_code == 204

    run(main)
