"""What tests that start and end workers of their own share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from celery import Celery

from producer.contract import QUEUE
from tests.torture.bench import Bench, kill
from worker.local.process import Process
from worker.local.stack import Stack


@pytest.fixture
def app(bench: Bench) -> Iterator[Celery]:
    """A stock Celery app that has the URL, and the queue for what it sends."""
    url = bench.endpoints.redis_url
    app = Celery(broker=url, backend=url, set_as_current=False)
    app.conf.task_default_queue = QUEUE
    yield app
    app.close()


@pytest.fixture(scope="session")
def api(stack: Stack, worker: Process) -> str:
    """The URL of the API on the session's servers, which asks for no key; a worker is there. Webhooks may come here."""
    return stack.start_api({"SEEDMILL_WEBHOOK_ALLOW_HTTP": "true", "SEEDMILL_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"})


@pytest.fixture
def no_worker_left(bench: Bench) -> Iterator[None]:
    """End the test without workers, without messages and without dead letters."""
    yield
    for process in bench.workers:
        if process.exit_status is None:
            os.kill(process.pid, signal.SIGCONT)
            kill(process)
    bench.redis.flushall()
