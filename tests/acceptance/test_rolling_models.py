"""A change of model while it rolls: two models side by side on one Redis and one API, each in a queue of its own."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from celery import Celery

from producer import Client
from producer.contract import TASK_NAME, JobStatus
from tests.support import model_variables
from tests.torture.bench import kill, wait_until
from tests.torture.stand_in import Plan
from worker.local.process import Process
from worker.local.stack import Stack, running_stack
from worker.queue.claim import EXIT_QUEUE_TAKEN

SEEDS = range(1, 6)


def perturbed(folder: Path, of: Path) -> Path:
    """Write the model of another folder with weights that differ a little; returns the folder."""
    folder.mkdir()
    saved = torch.load(of / "best.pt", weights_only=True)
    for name, tensor in saved["model_state_dict"].items():
        if tensor.is_floating_point():
            saved["model_state_dict"][name] = tensor + 0.01 * torch.ones_like(tensor)
    torch.save(saved, folder / "best.pt")
    (folder / "tokenizer.json").write_bytes((of / "tokenizer.json").read_bytes())
    return folder


class Service:
    """One Redis, one bucket, one API; and workers by model and queue.

    Args:
        stack: where it runs.
        module: what is run as a worker.
        models: the variables of a worker of each.
    """

    def __init__(self, stack: Stack, module: str, models: Mapping[str, Mapping[str, str]]) -> None:
        self.stack = stack
        self.models = models
        self._argv = [sys.executable, "-m", *module.split()]
        self._workers: list[Process] = []
        stack.start_servers()
        self.client = Client(stack.endpoints.redis_url, chunk_size=4)

    def worker(self, model: str, queue: str, *, wait: bool = True) -> Process:
        environment = {**self.stack.endpoints.environment(), **self.models[model]}
        environment |= {"SEEDMILL_QUEUE": queue, "SEEDMILL_LEASE_S": "5", "SEEDMILL_LOG_FORMAT": "json"}
        log = self.stack.logs / f"worker-{len(self._workers)}.log"
        process = Process("the worker", self._argv, log=log, environment=environment)
        self._workers.append(process)
        if wait:
            self.stack.wait_for(process)
        return process

    def close(self) -> None:
        self.client.close()
        for process in self._workers:
            process.stop()

    def api(self, queue: str = "default") -> httpx2.Client:
        return httpx2.Client(base_url=self.stack.start_api({"SEEDMILL_QUEUE": queue}), timeout=60)


@pytest.fixture(params=["stand-in", pytest.param("demo", marks=pytest.mark.slow)])
def service(request: pytest.FixtureRequest, tmp_path: Path, demo_model: Path) -> Iterator[Service]:
    """Two models: stand-ins, which are quick to start, or the demo model and the same with other weights."""
    if request.param == "demo":
        module, new = "worker run", perturbed(tmp_path / "new", demo_model)
        models = {"old": model_variables(demo_model), "new": model_variables(new)}
    else:
        module = "tests.torture.stand_in"
        models = {name: Plan(model_id=f"{name}-0123456789abcdef").environment() for name in ("old", "new")}
    with running_stack(tmp_path / "stack") as stack:
        service = Service(stack, module, models)
        yield service
        service.close()


def made(api: httpx2.Client, order: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Have pictures made; returns the job and its results."""
    job = api.post("/v1/jobs", json=order, headers={"Prefer": "wait=50"}).raise_for_status().json()
    assert job["status"] == "succeeded"
    return job, api.get(job["urls"]["results"]).raise_for_status().json()["data"]


def bytes_of(api: httpx2.Client, path: str) -> bytes:
    return api.get(path, follow_redirects=True).raise_for_status().content


def check_that_nothing_is_mixed(service: Service, old: Process, old_id: str) -> Process:
    """Kill the old worker half-way; the new model does not get its queue, and the old one finishes. Returns that."""
    job = service.client.submit(range(1000, 1200))
    wait_until(lambda: job.refresh().counts.succeeded > 0, "the first results")
    kill(old)
    assert job.refresh().status is JobStatus.RUNNING
    refused = service.worker("new", "default", wait=False)
    wait_until(lambda: refused.exit_status is not None, "the end of a worker that does not get its queue")
    assert refused.exit_status == EXIT_QUEUE_TAKEN
    assert "queue 'default' is not to be had for model" in refused.output()
    old = service.worker("old", "default")
    assert {result.model_id for result in job.wait(60).results()} == {old_id}
    assert job.counts.succeeded == 200
    return old


def test_two_models_are_served_side_by_side_and_the_old_ones_links_stay(service: Service) -> None:
    old = service.worker("old", "default")
    with service.api() as api:
        first, results = made(api, {"seeds": list(SEEDS)})
        lone, _ = made(api, {"seed": 77})
        old_id = first["model_id"]
        assert {one["model_id"] for one in results} == {old_id}
        old_pictures = {one["seed"]: bytes_of(api, f"/v1/images/{one['seed']}") for one in results}

        service.worker("new", "v2")
        on_trial, results = made(api, {"seeds": list(SEEDS), "queue": "v2"})
        new_id = on_trial["model_id"]
        assert {one["model_id"] for one in results} == {new_id} != {old_id}
        assert {name: one["model_id"] for name, one in api.get("/v1/status").json()["queues"].items()} == {
            "default": old_id,
            "v2": new_id,
        }
        assert bytes_of(api, "/v1/images/1") == old_pictures[1], "the trial changes nothing for others"
        assert bytes_of(api, f"/v1/images/1?model={new_id}") != old_pictures[1]

        url = service.stack.endpoints.redis_url
        with Celery(broker=url, backend=url, set_as_current=False) as app:
            value = app.send_task(TASK_NAME, args=[[5, 6]], queue="seedmill.v2").get(timeout=60)
        assert {one["model_id"] for one in value["seeds"]} == {new_id}

        old = check_that_nothing_is_mixed(service, old, old_id)

        old.signal(signal.SIGTERM)
        wait_until(lambda: old.exit_status is not None, "the end of the old worker")
    with service.api("v2") as api:
        after, results = made(api, {"seeds": [1, 900]})
        assert (after["queue"], after["model_id"]) == ("v2", new_id)
        assert {one["model_id"] for one in results} == {new_id}
        assert bytes_of(api, "/v1/images/1") != old_pictures[1]
        for seed, picture in old_pictures.items():
            assert bytes_of(api, f"/v1/images/{seed}?model={old_id}") == picture
        assert bytes_of(api, lone["urls"]["image"]).startswith(b"\x89PNG"), "the link that its job gave"
        assert old_id in lone["urls"]["image"]
        found = api.get("/v1/images?limit=100").raise_for_status().json()["data"]
        assert {one["model_id"] for one in found} == {old_id, new_id}
        told = json.loads(api.get("/v1/info").text)
        assert told["models"] == [new_id], "those that workers have now"
