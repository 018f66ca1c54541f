"""The trace of a job, for apps that use OpenTelemetry: one span per submit, whose context travels with the job.

The context is the W3C one (``traceparent``, ``tracestate``), in the job's record as JSON. Nothing of OpenTelemetry is
imported here: unless the process has done so, and so might trace, nothing is done. producer/otel.py sends the spans of
our own processes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from producer import __version__
from producer.queue_keys import queue_keys
from producer.submission import Submission

API = "opentelemetry.trace"
SCOPE = "seedmill"
FIELDS = ("traceparent", "tracestate")

NOTHING: Mapping[str, Any] = {}

MAX_CHARACTERS = 1024
"""Longest trace context that travels; of a longer one ``traceparent`` alone."""


def messaging(queue: str) -> dict[str, str]:
    """Return the attributes of every span that has to do with a queue, by OpenTelemetry's conventions for messaging."""
    return {"messaging.system": "celery", "messaging.destination.name": queue_keys(queue).celery}


@contextmanager
def submitting(submission: Submission, carrier: Mapping[str, Any] = NOTHING) -> Iterator[str]:
    """Yield the trace context for the job's record, inside a span of the submit.

    ``carrier`` is the context in which somebody else asked for it, "" goes on where neither they nor this app trace.
    """
    if sys.modules.get(API) is None:
        yield pack(carrier)
        return
    from opentelemetry.trace import SpanKind, get_tracer  # the app has
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    attributes: dict[str, str | int] = {
        **messaging(submission.queue),
        "messaging.operation.name": "submit",
        "messaging.operation.type": "send",
        "seedmill.job.id": submission.job_id,
        "seedmill.job.seeds": len(submission.seeds),
        "seedmill.job.priority": str(submission.priority),
        "seedmill.job.force": submission.force,
    }
    tracer = get_tracer(SCOPE, __version__)
    asked = TraceContextTextMapPropagator().extract(carrier) if carrier else None
    with tracer.start_as_current_span("seedmill submit", context=asked, kind=SpanKind.PRODUCER, attributes=attributes):
        own: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(own)
        yield pack(own)


def pack(carrier: Mapping[str, Any]) -> str:
    """Return a trace context as it travels, "" if there is none in ``carrier``, whoever wrote that."""
    fields = {name: carrier[name] for name in FIELDS if isinstance(carrier.get(name), str)}
    if FIELDS[0] not in fields:
        return ""
    text = json.dumps(fields)
    if len(text) > MAX_CHARACTERS:
        text = json.dumps({FIELDS[0]: fields[FIELDS[0]]})
    return text if len(text) <= MAX_CHARACTERS else ""


def unpack(text: str) -> dict[str, str]:
    """Return the carrier of what :func:`pack` returned; an empty one for anything else."""
    try:
        carrier = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return carrier if isinstance(carrier, dict) and all(isinstance(v, str) for v in carrier.values()) else {}
