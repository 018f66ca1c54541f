"""What tests with Celery's own tools share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from producer.contract import QUEUE
from tests.torture.bench import Bench


@pytest.fixture
def app(bench: Bench) -> Iterator[Celery]:
    """A stock Celery app that has the URL, and the queue for what it sends."""
    url = bench.endpoints.redis_url
    app = Celery(broker=url, backend=url, set_as_current=False)
    app.conf.task_default_queue = QUEUE
    yield app
    app.close()
