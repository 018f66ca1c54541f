"""What surrounds jobs: pictures by seed, health, readiness, numbers, documents, request ids."""

from __future__ import annotations

import re
from dataclasses import replace

import httpx2
import pytest
import structlog

from producer.contract import IMAGE_CONTENT_TYPE, METADATA_CONTENT_TYPE, image_key, metadata_key
from producer.keys import KeyStore, Scope, make_key
from tests.integration.api import api_settings, asking, new_key, pretend_worker, run, serving
from tests.integration.test_api_jobs import problem_of
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

AWAY = "redis://127.0.0.1:1/0"


def test_a_published_picture_is_redirected_to_and_another_is_not(quiet: Endpoints, store: ObjectStore) -> None:
    model = "pretended-images"
    store.put(image_key(model, 7), b"picture", IMAGE_CONTENT_TYPE)
    store.put(metadata_key(model, 7), b"{}", METADATA_CONTENT_TYPE)
    pretend_worker(quiet, model)

    async def main() -> None:
        async with asking(api_settings(quiet)) as api, httpx2.AsyncClient() as browser:
            found = await api.get("/v1/images/7")
            assert (found.status_code, found.headers["cache-control"]) == (307, "private, max-age=3240")
            assert (await browser.get(found.headers["location"])).content == b"picture"
            metadata = await api.get("/v1/images/7/metadata", params={"model": model})
            assert (await browser.get(metadata.headers["location"])).json() == {}
            for path in ("/v1/images/8", f"/v1/images/8?model={model}"):
                missing = await api.get(path)
                assert problem_of(missing) == (404, "not-published")
                order = missing.json()["enqueue"]
                made = await api.request(order["method"], order["href"], json=order["body"])
                assert made.status_code == 202
            other = await api.get("/v1/images/7?model=other")
            assert problem_of(other) == (404, "not-published")
            assert ("enqueue" in other.json(), "model other has not" in other.json()["detail"]) == (False, True)
            for seed in ("x", "-1", "4294967296", "7.0", "%20", "9" * 5000):
                assert problem_of(await api.get(f"/v1/images/{seed}")) == (422, "invalid-seed")
            wrong = (await api.get("/v1/images/abc")).json()["detail"]
            assert wrong == "'abc' is not a seed: a whole number from 0 to 4294967295"

    run(main)


def test_the_head_of_a_picture_says_whether_it_is_there(quiet: Endpoints, store: ObjectStore) -> None:
    store.put(metadata_key("pretended-head", 7), b"{}", METADATA_CONTENT_TYPE)
    with serving(api_settings(quiet)) as url, httpx2.Client(base_url=url) as api:
        for path in ("/v1/images/7", "/v1/images/7/metadata"):
            found = api.head(path, params={"model": "pretended-head"})
            assert (found.status_code, found.content, "location" in found.headers) == (307, b"", True)
            missing = api.head(path, params={"model": "pretended-other"})
            assert (missing.status_code, missing.content) == (404, b"")
            assert api.head(path, params={"modell": "pretended-head"}).status_code == 422
            assert api.post(path).headers["allow"] == "GET, HEAD"


def test_a_parameter_that_is_not_known_is_refused_with_those_that_are(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for method, path, known in (
                ("GET", "/v1/jobs/none/results?lmit=3", "there are after, limit"),
                ("GET", "/v1/dead-letters?limit=3&lmit=3", "there are limit"),
                ("PUT", "/v1/jobs/none?lmit=3", "there are none here"),
                ("GET", "/v1/info?lmit=3", "there are none here"),
            ):
                answer = await api.request(method, path, json={"seed": 7})
                assert problem_of(answer) == (422, "invalid-request")
                assert answer.json()["detail"] == f"the parameter 'lmit' of the query is not known: {known}"
            for path in ("/healthz", "/metrics", "/docs", "/openapi.json"):
                assert (await api.get(f"{path}?lmit=3")).status_code == 200

    run(main)


def test_the_limits_are_those_of_who_asks(quiet: Endpoints) -> None:
    with KeyStore(quiet.redis_url) as keys:
        text, key = make_key("slow", rate=5, share=0.25)
        keys.add(key)

    async def main() -> None:
        async with asking(api_settings(quiet, api_max_queued_seeds=1000)) as api:
            names = ("requests_per_minute", "share_seeds", "queued_seeds")
            anybody = (await api.get("/v1/info")).json()["limits"]
            assert [anybody[name] for name in names] == [1200, 0, 1000]
            slow = (await api.get("/v1/info", headers={"Authorization": f"Bearer {text}"})).json()["limits"]
            assert [slow[name] for name in names] == [5, 250, 1000]

    run(main)


def test_the_model_is_remembered_when_its_worker_has_gone(quiet: Endpoints, store: ObjectStore) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            assert "no worker was ever seen" in (await api.get("/v1/images/7")).json()["detail"]
        pretend_worker(quiet, "remembered")
        async with asking(api_settings(quiet)) as api:
            info = (await api.get("/v1/info")).json()
            assert (info["models"], info["workers"], info["picture"]["width"]) == (["remembered"], 1, 256)
        pretend_worker(quiet, None)
        async with asking(api_settings(quiet)) as api:
            assert "model remembered has" in (await api.get("/v1/images/7")).json()["detail"]

    run(main)


def test_without_keys_for_the_store_all_but_pictures_works(quiet: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")

    async def main() -> None:
        bare = api_settings(quiet, s3_access_key_id="", s3_secret_access_key="")
        async with asking(bare) as api:
            assert (await api.get("/v1/info")).json()["presigned_urls"] is False
            assert (await api.get("/readyz")).json()["checks"]["storage"] == {"ok": None, "detail": "not configured"}
            answer = await api.get("/v1/images/7?model=any")
            assert problem_of(answer) == (503, "storage-unreachable")
            assert "AWS_ACCESS_KEY_ID" in answer.json()["detail"]
            assert (await api.post("/v1/jobs", json={"seed": 7})).status_code == 202

    run(main)


def test_the_process_lives_without_redis_and_is_not_ready(quiet: Endpoints, store: ObjectStore) -> None:
    async def main() -> None:
        async with asking(api_settings(replace(quiet, redis_url=AWAY))) as api:
            assert (await api.get("/healthz")).json() == {"status": "ok"}
            ready = await api.get("/readyz")
            assert ready.headers["Retry-After"] == "5"
            checks = ready.json()["checks"]
            assert (ready.status_code, {name: one["ok"] for name, one in checks.items()}) == (
                503,
                {"redis": False, "storage": True, "worker": False},
            )
            assert (await api.get("/readyz?exclude=redis")).status_code == 503
            assert (await api.get("/readyz?exclude=redis&exclude=worker")).json() == {"status": "ok", "checks": checks}
            assert problem_of(await api.get("/readyz?exclude=moon")) == (422, "invalid-request")
            for answer in (await api.get("/v1/jobs/x"), await api.post("/v1/jobs", json={"seed": 1})):
                assert problem_of(answer) == (503, "queue-unreachable")
                assert int(answer.headers["retry-after"]) > 0
                assert "127.0.0.1" not in answer.text
        pretend_worker(quiet)
        async with asking(api_settings(quiet)) as api:
            assert (await api.get("/readyz")).json()["status"] == "ok"
        async with asking(api_settings(replace(quiet, s3_url="http://127.0.0.1:1"))) as api:
            assert (await api.get("/readyz")).json()["checks"]["storage"]["ok"] is False

    run(main)


def test_every_answer_has_the_id_of_its_request(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for path in ("/healthz", "/v1/jobs/none", "/nothing", "/docs"):
                assert (await api.get(path, headers={"X-Request-ID": "my-id.7"})).headers["x-request-id"] == "my-id.7"
                for bad in ("", "a b", "x" * 129):
                    own = (await api.get(path, headers={"X-Request-ID": bad})).headers["x-request-id"]
                    assert re.fullmatch("[0-9a-f]{32}", own)

    run(main)


def test_a_fault_of_the_servers_own_tells_nothing_of_what_is_inside(
    quiet: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            monkeypatch.setattr("producer.api.jobs.Jobs.read", None)
            with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
                answer = await api.get("/v1/jobs/job")
            assert problem_of(answer) == (500, "internal-error")
            assert "NoneType" not in answer.text
            assert [line["action"] for line in lines] == ["request_failed", "request"]
            assert {line["request_id"] for line in lines} == {answer.headers["x-request-id"]}
            assert (lines[1]["route"], lines[1]["status"], lines[1]["job_id"]) == ("/v1/jobs/{job_id}", 500, "job")
            assert 'status="500"' in (await api.get("/metrics")).text

    run(main)


def test_what_does_not_exist_and_what_is_not_possible_are_problems(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            assert problem_of(await api.get("/v1/nothing")) == (404, "not-found")
            assert problem_of(await api.get("/v1/jobs/")) == (404, "not-found")
            wrong = await api.delete("/v1/jobs/job")
            assert problem_of(wrong) == (405, "method-not-allowed")
            assert set(wrong.headers["allow"].split(", ")) == {"GET", "PUT"}
            assert problem_of(await api.get("/v1/jobs", headers={"Host": "evil.example"})) == (421, "misdirected")

    run(main)


def test_the_documents_need_no_other_server(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet, api_public_url="https://pictures.example/mill")) as api:
            page = (await api.get("/docs")).text
            assets = re.findall(r'(?:href|src)="([^"]+)"', page)
            assert len(assets) >= 2
            for asset in assets:
                if not asset.startswith("data:"):
                    assert asset.startswith("/docs/assets/")
                    assert (await api.get(asset)).status_code == 200
            assert (await api.get("/openapi.json")).json()["servers"] == [{"url": "https://pictures.example/mill"}]
            job = (await api.post("/v1/jobs", json={"seed": 1})).json()
            assert job["urls"]["self"] == f"https://pictures.example/mill/v1/jobs/{job['id']}"

    run(main)


def test_the_secret_of_webhooks_is_for_those_who_submit(quiet: Endpoints) -> None:
    made = {scope: new_key(quiet, scope) for scope in (Scope.SUBMIT, Scope.READ)}

    async def main() -> None:
        async with asking(api_settings(quiet, api_auth="required")) as api:
            for scope, text in made.items():
                answer = await api.get("/v1/webhooks/secret", headers={"Authorization": f"Bearer {text}"})
                assert answer.status_code == (200 if scope is Scope.SUBMIT else 403)

    run(main)
