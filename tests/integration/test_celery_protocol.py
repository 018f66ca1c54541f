"""Our messages are Celery's messages: compared with what Celery itself writes, and read by its own code."""

from __future__ import annotations

import base64
import json
from typing import Any

from celery import Celery

from producer import Client
from producer.connection import connect
from producer.contract import QUEUE, TASK_NAME
from worker.local.stack import Endpoints
from worker.queue.ledger import Ledger


def shape(value: Any) -> Any:
    """Return the structure of JSON values: names and kinds, without the values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return type(value).__name__


def sent(client: Client) -> str:
    """Return the message of the only job that waits, as a worker takes it."""
    redis = connect(client.settings.redis_url, decode=False)
    (taken,) = Ledger(redis, limit=1, seeds=9, result_ttl_s=60).take()
    redis.close()
    return taken.text.decode()


def test_a_message_has_the_shape_of_celerys_own(quiet: Endpoints) -> None:
    app = Celery(broker=quiet.redis_url, backend=quiet.redis_url)
    with Client(quiet.redis_url) as client:
        client.submit(7)
        ours = json.loads(sent(client))
        app.send_task(TASK_NAME, kwargs={"seeds": [7], "job_id": "j", "chunk": 0}, queue=QUEUE)
        celerys = json.loads(str(client._redis.lindex(QUEUE, 0)))
    app.close()
    assert celerys["properties"].pop("body_encoding") == "base64"  # ours is plain, which is read as well
    assert shape(ours) == shape(celerys)
    assert shape(json.loads(ours["body"])) == shape(json.loads(base64.b64decode(celerys["body"])))
    for name in ("content-type", "content-encoding"):
        assert ours[name] == celerys[name]
    for name in ("delivery_mode", "delivery_info", "priority"):
        assert ours["properties"][name] == celerys["properties"][name]


def test_celery_reads_what_we_write(quiet: Endpoints) -> None:
    app = Celery(broker=quiet.redis_url)
    with Client(quiet.redis_url) as client:
        job = client.submit([7, 8])
        client._redis.lpush(QUEUE, sent(client))
    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as queue:
        message = queue.get(timeout=5)
        args, kwargs, _ = message.decode()
        message.ack()
    app.close()
    assert (args, kwargs) == ([], {"seeds": [7, 8], "job_id": job.id, "chunk": 0})
    assert message.headers["id"] == job.id
