"""Queues over HTTP: where a job goes, what is told of each queue, and whose model is meant where none is named."""

from __future__ import annotations

import json
from typing import Any

from producer.api import workers
from producer.connection import connect
from producer.contract import MODEL_KEY, QUEUES_KEY, image_key, metadata_key
from producer.keys import Scope
from producer.queue_keys import queue_keys
from tests.integration.api import api_settings, asking, new_key, run
from tests.integration.queues import NEW, OLD
from tests.integration.test_api_jobs import problem_of
from worker.local.stack import Endpoints
from worker.storage import ObjectStore


def pretend(endpoints: Endpoints, queue: str, model_id: str, *, lives: bool = True) -> None:
    """Let there seem to have been a worker of a queue, which may be gone."""
    keys = queue_keys(queue)
    client: Any = connect(endpoints.redis_url)
    client.hset(QUEUES_KEY, queue, model_id)
    facts = {"model_id": model_id, "image_size": 256, "started_at": f"2026-01-0{1 if queue == 'default' else 2}"}
    client.hset(keys.worker_facts, queue, json.dumps(facts))
    client.zadd(keys.workers, {queue: 2**52 if lives else 1})
    client.close()


def test_a_job_goes_to_the_queue_that_it_names_or_to_that_of_the_service(quiet: Endpoints) -> None:
    pretend(quiet, "v2", NEW)

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            assert (await api.post("/v1/jobs", json={"seed": 1})).json()["queue"] == "default"
            made = (await api.post("/v1/jobs", json={"seed": 1, "queue": "v2"})).json()
            assert (made["queue"], made["model_id"]) == ("v2", None)
            assert (await api.get(f"/v1/jobs/{made['id']}")).json()["queue"] == "v2"
            assert [job["queue"] for job in (await api.get("/v1/jobs")).json()["data"]] == ["v2", "default"]
            unknown = await api.post("/v1/jobs", json={"seed": 1, "queue": "v9"})
            assert problem_of(unknown) == (409, "queue-unknown")
            assert "no worker has served it yet" in unknown.json()["detail"]
            wrong = await api.post("/v1/jobs", json={"seed": 1, "queue": "V 2"})
            assert problem_of(wrong) == (422, "invalid-request")
        async with asking(api_settings(quiet, queue="v2")) as api:
            assert (await api.post("/v1/jobs", json={"seed": 2})).json()["queue"] == "v2"

    run(main)


def test_status_and_queue_tell_of_each_queue(quiet: Endpoints, store: ObjectStore) -> None:
    pretend(quiet, "default", OLD)
    pretend(quiet, "v2", NEW, lives=False)
    visitor = {"Authorization": f"Bearer {new_key(quiet, Scope.READ)}"}

    async def main() -> None:
        async with asking(api_settings(quiet, api_auth="required")) as api:
            status = (await api.get("/v1/status", headers=visitor)).json()
            nothing = {"waiting": 0, "held": 0, "backlog": 0}
            assert status["queues"] == {
                "default": {**nothing, "workers": 1, "model_id": OLD},
                "v2": {**nothing, "workers": 0, "model_id": NEW},
            }
            assert [(one["queue"], one["model_id"]) for one in status["workers"]] == [("default", OLD)]
            assert (await api.get("/v1/queue", headers=visitor)).json()["queues"] == status["queues"]
        async with asking(api_settings(quiet)) as api:
            await api.post("/v1/jobs", json={"range": "1..5", "queue": "v2"})
            await api.post("/v1/jobs", json={"range": "1..3"})
            queues = (await api.get("/v1/status")).json()["queues"]
            assert {name: (one["waiting"], one["backlog"]) for name, one in queues.items()} == {
                "default": (2, 3),
                "v2": (3, 5),
            }

    run(main)


def test_the_service_is_ready_once_a_worker_of_its_own_queue_lives(quiet: Endpoints, store: ObjectStore) -> None:
    pretend(quiet, "default", OLD)
    pretend(quiet, "v2", NEW, lives=False)

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            assert (await api.get("/readyz")).json()["checks"]["worker"]["ok"] is True
        async with asking(api_settings(quiet, queue="v2")) as api:
            seen = (await api.get("/readyz")).json()["checks"]["worker"]
            assert (seen["ok"], "no worker of queue 'v2' is seen" in seen["detail"]) == (False, True)

    run(main)


def test_without_a_model_that_of_the_services_queue_is_meant(
    quiet: Endpoints, store: ObjectStore, monkeypatch: Any
) -> None:
    monkeypatch.setattr(workers, "FRESH_S", 0.0)
    for model in (OLD, NEW):
        store.put(image_key(model, 7), b"png", "image/png")
        store.put(metadata_key(model, 7), b"{}", "application/json")
    pretend(quiet, "default", OLD)
    pretend(quiet, "v2", NEW)

    async def model_of(**changes: Any) -> str:
        async with asking(api_settings(quiet, **changes)) as api:
            assert NEW in (await api.get("/v1/images/7", params={"model": NEW})).headers["location"]
            where = (await api.get("/v1/images/7")).headers["location"]
            return OLD if OLD in where else NEW

    async def main() -> None:
        assert await model_of() == OLD, "a new queue on trial changes nothing"
        assert await model_of(queue="v2") == NEW
        pretend(quiet, "default", OLD, lives=False)
        client: Any = connect(quiet.redis_url)
        client.delete(MODEL_KEY)
        client.close()
        assert await model_of() == OLD, "also when its workers are gone"

    run(main)
