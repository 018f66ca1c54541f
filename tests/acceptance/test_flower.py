"""Flower, run as a user runs it, shows what a worker is and does."""

from __future__ import annotations

import base64
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from producer.contract import QUEUE, TASK_NAME
from tests.acceptance.remote import TIMEOUT_S, name_of, start
from tests.torture.bench import Bench, wait_until
from tests.torture.stand_in import Plan
from worker.local.process import Process, free_port

pytestmark = pytest.mark.usefixtures("no_worker_left")

Fresh = Callable[[int], range]


class Flower:
    """Flower on a free port of 127.0.0.1."""

    def __init__(self, bench: Bench) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "celery", "--broker", bench.endpoints.redis_url, "flower"]
        options = ["--address=127.0.0.1", f"--port={self.port}", "--basic-auth=user:word", "--read-only"]
        self.process = Process("Flower", [*command, *options], log=Path(bench.folder) / "flower.log")

    def get(self, path: str) -> str:
        """Return a page."""
        login = base64.b64encode(b"user:word").decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Basic {login}"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return str(answer.read().decode())

    def json(self, path: str) -> Any:
        """Return what the API answers."""
        return json.loads(self.get(path))

    def is_up(self) -> bool:
        """Return whether it answers."""
        try:
            return bool(self.get("/metrics"))
        except OSError:
            return False


@pytest.fixture
def flower(bench: Bench) -> Iterator[Flower]:
    flower = Flower(bench)
    flower.process.wait_ready(flower.is_up, timeout_s=60)
    yield flower
    flower.process.stop()


def test_flower_shows_the_worker_its_pool_the_queue_and_each_task_with_its_state(
    bench: Bench, app: Celery, flower: Flower, seeds: Fresh
) -> None:
    good, bad = seeds(2), seeds(2)
    worker = start(bench, app, Plan(raises=[bad[0]]), SEEDMILL_CONCURRENCY="8")
    name = name_of(worker)
    wait_until(lambda: f'flower_worker_online{{worker="{name}"}} 1.0' in flower.get("/metrics"), "the worker in Flower")
    wait_until(lambda: name in flower.json("/api/workers?refresh=1"), "its answers")
    seen = flower.json("/api/workers")[name]
    assert seen["stats"]["pool"]["max-concurrency"] == 8
    assert seen["stats"]["pid"] == worker.pid
    assert [queue["name"] for queue in seen["active_queues"]] == [QUEUE]
    assert seen["registered"] == [TASK_NAME]

    def states() -> set[str]:
        job = bench.client.submit(good, force=True)
        job.wait(TIMEOUT_S)
        return {task["state"] for task in flower.json("/api/tasks").values()}

    wait_until(lambda: "SUCCESS" in states(), "a task in Flower, which asks for events every few seconds")
    failing = bench.client.submit(bad)
    failing.wait(TIMEOUT_S, check=False)
    wait_until(lambda: flower.json("/api/tasks").get(failing.id, {}).get("state") == "FAILURE", "the failed task")
    task = flower.json("/api/tasks")[failing.id]
    assert (task["name"], task["worker"]) == (TASK_NAME, name)
    assert task["exception"].startswith("ValueError('1 of 2 seeds failed")
    done = next(task for task in flower.json("/api/tasks").values() if task["state"] == "SUCCESS")
    assert done["runtime"] > 0
    assert flower.json("/api/queues/length")["active_queues"] == [{"name": QUEUE, "messages": 0}]
    assert name in flower.get("/workers")
    assert QUEUE in flower.get("/broker")
    assert str(worker.pid) in flower.get(f"/worker/{name}")
