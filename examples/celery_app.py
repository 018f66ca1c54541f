"""Another Celery app that sends seeds to the same queue and polls, with nothing of seedmill installed.

    pip install "celery[redis]"
    python examples/celery_app.py [SEED...]

``SEEDMILL_REDIS_URL`` says where the queue is. A task of your own would call :func:`order_pictures` just so, and look
after them later by the task's id, from any process: :func:`look_after`.
"""

from __future__ import annotations

import os
import sys
import time

from celery import Celery

REDIS_URL = os.environ.get("SEEDMILL_REDIS_URL", "redis://127.0.0.1:6379/0")

app = Celery("gallery", broker=REDIS_URL, backend=REDIS_URL)


def order_pictures(seeds: list[int], priority: int = 0) -> str:
    """Send a list of at most 1,024 seeds, the most urgent with priority 0; returns the task's id."""
    task = app.send_task("seedmill.generate", args=[seeds], queue="seedmill", priority=priority)
    return str(task.id)


def look_after(task_id: str, timeout_s: float = 60.0) -> list[dict[str, object]]:
    """Poll until the task has ended; returns what became of each seed, or raises what the task raised."""
    task = app.AsyncResult(task_id)
    deadline = time.monotonic() + timeout_s
    while not task.ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"task {task_id} is still {task.state}")
        time.sleep(0.1)
    return list(task.get()["seeds"])


if __name__ == "__main__":
    wanted = [int(word) for word in sys.argv[1:]] or [42, 7]
    for seed in look_after(order_pictures(wanted)):
        print(seed["seed"], seed["status"], seed["caption"], seed["image_uri"])
