"""What the worker's trace is made of: a span per chunk, per batch of the device and per publication.

Here is what the stages call, and what they get while nothing is traced, which makes nothing at all; the spans are made
in worker/monitoring/spans.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from producer.contract import DEFAULT_QUEUE
from producer.otel import ENDPOINTS, open_export
from producer.redaction import redact

if TYPE_CHECKING:
    from producer.attempts import Start
    from worker.results import Delivery
    from worker.work import Work

log = structlog.get_logger(__name__)

SERVICE = "seedmill-worker"


class Traces(Protocol):
    """Spans around what is done; what ``chunk`` yields travels with the seeds of the chunk."""

    def chunk(self, delivery: Delivery, start: Start, /) -> AbstractContextManager[Any]:
        """Trace what is done with a chunk; an error that leaves it is its end."""
        ...

    def recorded(self, chunk: Any, value: Mapping[str, Any], /) -> None:
        """Note how a chunk ended: the value of its Celery result."""
        ...

    def batch(self, name: str, items: Sequence[Work], /) -> AbstractContextManager[Any]:
        """Trace the device's work at a batch."""
        ...

    def publication(self, item: Work, /) -> AbstractContextManager[Any]:
        """Trace the publication of a seed, with its stages; how it ended is read from it afterwards."""
        ...

    def close(self) -> None:
        """Send what is left, within a few seconds."""
        ...


class NoTraces:
    """Nothing is traced."""

    _nothing = nullcontext()

    def chunk(self, *_: object) -> AbstractContextManager[Any]:
        """Yield ``None``."""
        return self._nothing

    def recorded(self, *_: object) -> None:
        """Do nothing."""

    def batch(self, *_: object) -> AbstractContextManager[Any]:
        """Do nothing."""
        return self._nothing

    def publication(self, *_: object) -> AbstractContextManager[Any]:
        """Do nothing."""
        return self._nothing

    def close(self) -> None:
        """Do nothing."""


OFF = NoTraces()


def open_traces(queue: str = DEFAULT_QUEUE) -> Traces:
    """Return where the spans of a queue's worker go; they are sent if the environment says where to."""
    export = open_export(SERVICE, lambda reason: log.warning(reason, action="tracing_unavailable"))
    if export is None:
        return OFF
    from worker.monitoring.spans import Spans  # needs the extra

    where = next(os.environ[name] for name in ENDPOINTS if os.environ.get(name))
    log.info("traces are sent", action="tracing_on", where=redact(where))
    return Spans(export, queue)
