"""Our messages are Celery's messages: compared with what Celery itself writes, and read by its own code."""

from __future__ import annotations

import json
from typing import Any

from celery import Celery

from producer import Client
from producer.connection import connect
from producer.contract import QUEUE, TASK_NAME
from worker.local.stack import Endpoints


def shape(value: Any) -> Any:
    """Return the structure of JSON values: names and kinds, without the values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return type(value).__name__


def test_a_message_has_the_shape_of_celerys_own(quiet: Endpoints) -> None:
    app = Celery(broker=quiet.redis_url, backend=quiet.redis_url)
    app.send_task(TASK_NAME, kwargs={"seeds": [7], "job_id": "j", "chunk": 0}, queue=QUEUE)
    with Client(quiet.redis_url) as client:
        client.submit(7)
    redis = connect(quiet.redis_url)
    ours, celerys = (json.loads(text) for text in redis.lrange(QUEUE, 0, 1))
    redis.close()
    app.close()
    assert shape(ours) == shape(celerys)
    for name in ("content-type", "content-encoding"):
        assert ours[name] == celerys[name]
    for name in ("delivery_mode", "delivery_info", "priority", "body_encoding"):
        assert ours["properties"][name] == celerys["properties"][name]


def test_celery_reads_what_we_write(quiet: Endpoints) -> None:
    with Client(quiet.redis_url) as client:
        job = client.submit([7, 8])
    app = Celery(broker=quiet.redis_url)
    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as queue:
        message = queue.get(timeout=5)
        args, kwargs, _ = message.decode()
        message.ack()
    app.close()
    assert (args, kwargs) == ([], {"seeds": [7, 8], "job_id": job.id, "chunk": 0})
    assert message.headers["id"] == job.id
