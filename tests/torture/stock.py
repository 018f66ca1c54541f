"""A stock Celery worker with the best settings that need no code: the control that shows that the faults are real.

``python -m tests.torture.stock URL LOG``: its task appends its number to a file.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

QUEUE = "stock"
TASK = "stock.note"


def build(url: str, log: str = "") -> Celery:
    """Return an application whose one task notes that it ran."""
    app = Celery("stock", broker=url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options={
            "visibility_timeout": 5,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
            "socket_timeout": 5,
            "health_check_interval": 5,
            "priority_steps": [0],
        },
    )

    @app.task(name=TASK)
    def note(number: int, seconds: float) -> None:
        time.sleep(seconds)
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{number}\n")

    return app


def main() -> None:
    """Serve."""
    url, log = sys.argv[1:]
    worker_ready.connect(lambda **_: print("ready", flush=True), weak=False)
    worker = build(url, log).Worker(
        pool="threads", concurrency=8, without_gossip=True, without_mingle=True, without_heartbeat=True, quiet=True
    )
    worker.start()


if __name__ == "__main__":
    main()
