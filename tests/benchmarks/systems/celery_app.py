"""Apps of the two Celery systems, run by Celery's own command with ``--app`` and the name of this module.

``SEEDMILL_BENCHMARK_CELERY`` says which: ``celery`` or ``celery-batches``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_process_init

from tests.benchmarks.devices import spec_of_environment
from tests.benchmarks.systems.celery_stock import TASK
from tests.benchmarks.systems.naive import Uploader

KIND = os.environ.get("SEEDMILL_BENCHMARK_CELERY", "celery")
BATCH = 32

app = Celery("benchmark", broker=os.environ.get("BENCHMARK_REDIS_URL"), backend=os.environ.get("BENCHMARK_REDIS_URL"))
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_proc_alive_timeout=120,
    broker_connection_retry_on_startup=True,
    task_default_queue=KIND,
    result_expires=3600,
)


class Served:
    """The model and the uploader of one process."""

    model: Any
    uploader: Uploader
    device = threading.Lock()


def load(threads: int | None) -> None:
    """Load the model in this process."""
    Served.model = spec_of_environment().load(threads)
    Served.uploader = Uploader(KIND)


if KIND == "celery":

    @worker_process_init.connect(weak=False)
    def load_in_child(**_: Any) -> None:
        """Load a model in each child, on one thread: there are as many children as cores."""
        load(threads=1)

    @app.task(name=TASK)
    def generate(seed: int) -> dict[str, Any]:
        """Make one seed."""
        (generated,) = Served.model.generate([seed])
        return Served.uploader.upload(generated)

else:
    from celery_batches import Batches, SimpleRequest

    # It buffers what it has prefetched: without a limit the next batch fills whatever is not acknowledged yet.
    app.conf.worker_prefetch_multiplier = 0

    @worker_init.connect(weak=False)
    def load_in_parent(**_: Any) -> None:
        """Load the model in the one process of the pools that have one."""
        load(threads=None)

    class Batched(Batches):  # type: ignore[misc]  # no types
        """A task of many messages."""

        flush_every = BATCH
        flush_interval = float(os.environ.get("SEEDMILL_BENCHMARK_FLUSH_S", "0.05"))

    @app.task(name=TASK, base=Batched)
    def generate_batch(requests: Sequence[SimpleRequest]) -> None:
        """Make the seeds of a batch, upload them on threads, and store each message's result."""
        with Served.device:
            results = Served.model.generate([request.args[0] for request in requests])
        for request, facts in zip(requests, Served.uploader.upload_all(results), strict=True):
            app.backend.mark_as_done(request.id, facts, request=request)
