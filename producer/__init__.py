"""seedmill's producing side: enqueue seeds, poll jobs, read results.

    from producer import Client

    with Client("redis://127.0.0.1:6379/0") as client:
        job = client.submit(range(100))
        for result in job.wait(timeout=60).results():
            print(result.seed, result.caption, result.image_uri)

``Client(url="http://127.0.0.1:8000", api_key="sm_...")`` does the same over the HTTP API. For asyncio there is
``AsyncClient``.

Names are loaded when first used (PEP 562), so that ``import producer`` costs next to nothing and never brings in
torch, Pillow, boto3, Celery or the worker.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producer.aio import AsyncClient, AsyncJob
    from producer.client import Client, Job
    from producer.contract import JobStatus, Priority, SeedStatus
    from producer.dead import DeadLetter
    from producer.errors import (
        AccessError,
        ApiKeyNotFound,
        DeadLetterError,
        DeadLetterNotFound,
        ExtraMissing,
        Forbidden,
        InvalidJobId,
        InvalidSeed,
        InvalidUri,
        JobConflict,
        JobError,
        JobFailed,
        JobNotFound,
        JobTimeout,
        QueueError,
        QueueFull,
        QueueRefused,
        QueueUnknown,
        QueueUnreachable,
        RateLimited,
        ReplayRefused,
        ResultsLost,
        SeedmillError,
        SettingsError,
        Unauthorized,
    )
    from producer.job import Counts
    from producer.message import SeedResult
    from producer.queue import QueueStatus
    from producer.reconcile import Reconciliation

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "ApiKeyNotFound",
    "AsyncClient",
    "AsyncJob",
    "Client",
    "Counts",
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterNotFound",
    "ExtraMissing",
    "Forbidden",
    "InvalidJobId",
    "InvalidSeed",
    "InvalidUri",
    "Job",
    "JobConflict",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "JobStatus",
    "JobTimeout",
    "Priority",
    "QueueError",
    "QueueFull",
    "QueueRefused",
    "QueueStatus",
    "QueueUnknown",
    "QueueUnreachable",
    "RateLimited",
    "Reconciliation",
    "ReplayRefused",
    "ResultsLost",
    "SeedResult",
    "SeedStatus",
    "SeedmillError",
    "SettingsError",
    "Unauthorized",
]

_HOMES = {
    "producer.aio": ("AsyncClient", "AsyncJob"),
    "producer.client": ("Client", "Job"),
    "producer.contract": ("JobStatus", "Priority", "SeedStatus"),
    "producer.dead": ("DeadLetter",),
    "producer.job": ("Counts",),
    "producer.message": ("SeedResult",),
    "producer.queue": ("QueueStatus",),
    "producer.reconcile": ("Reconciliation",),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "producer.errors")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
