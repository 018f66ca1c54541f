"""The service at a glance: what everyone sees of it, what administrators see, and what is left without Redis."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from producer.api import operator_schemas, workers
from producer.connection import connect
from producer.contract import WORKER_FACTS_KEY
from producer.keys import Scope, make_key
from tests.integration.api import api_settings, asking, new_key, pretend_worker, run
from tests.integration.conftest import Hand
from tests.integration.test_api_jobs import problem_of
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

AWAY = "redis://127.0.0.1:1/0"
DONE = {"seeds": 9, "cached": 2, "batches": {"1": 1, "8": 1}}
PLACE = {"host": "machine", "pid": 7}


def pretend_worker_that_tells(endpoints: Endpoints) -> None:
    """Let there seem to be a worker that has done something."""
    pretend_worker(endpoints)
    client: Any = connect(endpoints.redis_url)
    facts = json.loads(client.hget(WORKER_FACTS_KEY, "hand"))
    client.hset(WORKER_FACTS_KEY, "hand", json.dumps({**facts, **DONE, **PLACE}))
    client.close()


def test_the_status_has_parts_queue_seeds_and_what_workers_have_done(quiet: Endpoints, store: ObjectStore) -> None:
    pretend_worker_that_tells(quiet)

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.post("/v1/jobs", json={"range": "1..5"})
            status = (await api.get("/v1/status")).json()
            operator_schemas.Status.model_validate(status, strict=True)
            assert {name: one["ok"] for name, one in status["checks"].items()} == {
                "redis": True,
                "storage": True,
                "worker": True,
            }
            queue = (await api.get("/v1/queue")).json()
            assert queue.pop("workers") == status["workers"]
            assert queue.pop("queues") == status["queues"]
            assert {**status["queue"], "oldest_job_s": queue["oldest_job_s"]} == queue
            assert (queue["waiting"], queue["active_jobs"]) == (3, 1)
            assert status["seeds"] == {"waiting": 5, "per_s": 0, "eta_s": None}
            (worker,) = status["workers"]
            assert worker.items() >= {**DONE, **PLACE, "model_id": "pretended"}.items()

    run(main)


def test_the_speed_is_that_of_the_last_minute_and_says_when_all_is_done(
    quiet: Endpoints, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "FRESH_S", 0.0)

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            await api.put("/v1/jobs/job", json={"range": "1..6"})
            assert (await api.get("/v1/status")).json()["seeds"]["waiting"] == 6
            hand.finish("job", (1, 2, 3, 4, 5, 6), chunks=2)
            seeds = (await api.get("/v1/status")).json()["seeds"]
            assert (seeds["waiting"], seeds["per_s"] > 0) == (2, True)
            assert seeds["eta_s"] == pytest.approx(2 / seeds["per_s"], abs=0.1)
            hand.finish("job", (1, 2, 3, 4, 5, 6))
            seeds = (await api.get("/v1/status")).json()["seeds"]
            assert (seeds["waiting"], seeds["eta_s"]) == (0, None)

    run(main)


def test_where_workers_run_is_for_administrators(quiet: Endpoints) -> None:
    pretend_worker_that_tells(quiet)
    made = {scope: new_key(quiet, scope) for scope in (Scope.READ, Scope.ADMIN)}

    async def main() -> None:
        async with asking(api_settings(quiet, api_auth="required")) as api:
            for scope, text in made.items():
                headers = {"Authorization": f"Bearer {text}"}
                (worker,) = (await api.get("/v1/status", headers=headers)).json()["workers"]
                assert worker.items() >= DONE.items()
                assert (worker.items() >= PLACE.items()) is (scope is Scope.ADMIN)
                (listed,) = (await api.get("/v1/queue", headers=headers)).json()["workers"]
                assert ("host" in listed) is (scope is Scope.ADMIN)
                assert (await api.get("/v1/info", headers=headers)).json()["scopes"] == [scope]

    run(main)


def test_while_redis_is_away_the_status_says_so(quiet: Endpoints, store: ObjectStore) -> None:
    async def main() -> None:
        away = replace(quiet, redis_url=AWAY)
        async with asking(api_settings(away)) as api:
            status = (await api.get("/v1/status")).json()
            assert (status["checks"]["redis"]["ok"], status["checks"]["storage"]["ok"]) == (False, True)
            assert (status["queue"], status["seeds"], status["workers"]) == (None, None, [])
        async with asking(api_settings(away, api_auth="required")) as api:
            assert problem_of(await api.get("/v1/status")) == (401, "unauthorized")
            text, _ = make_key("unknown")
            answer = await api.get("/v1/status", headers={"Authorization": f"Bearer {text}"})
            assert problem_of(answer) == (503, "queue-unreachable")

    run(main)


def test_one_who_needs_no_key_may_do_everything(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            assert (await api.get("/v1/info")).json()["scopes"] == ["admin", "read", "submit"]

    run(main)
