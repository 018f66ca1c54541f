"""The worker's spans, by OpenTelemetry's conventions for messaging where these fit; needs the extra ``otel``.

A chunk continues the trace that its job was submitted in. A batch mixes jobs, so it is a trace of its own with a link
to each chunk that has seeds in it. The publication of a seed belongs to the chunk that wanted it first, and links to
its batch and to the other chunks. Inside a span, log lines carry its ``trace_id``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from producer import __version__
from producer.attempts import Start
from producer.contract import DEFAULT_QUEUE, SeedStatus
from producer.message import SeedResult
from producer.otel import Export
from producer.tracing import SCOPE, messaging, unpack
from worker.errors import GivenBack
from worker.results import Delivery
from worker.work import Outcome, Work

log = structlog.get_logger(__name__)

FLUSH_S = 3.0
"""Seconds that the last spans have to reach the collector when the worker ends."""

MAX_FAILURES = 16
"""Failed seeds of which the span of a chunk has an event."""

MAX_REASON_CHARACTERS = 200


class Spans:
    """The worker's spans; see :class:`worker.monitoring.tracing.Traces`."""

    def __init__(self, export: Export, queue: str = DEFAULT_QUEUE) -> None:
        self._messaging = messaging(queue)
        self._export = export
        self._tracer = export.provider.get_tracer(SCOPE, __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def chunk(self, delivery: Delivery, start: Start) -> Iterator[Span]:
        """Trace what is done with a chunk, as part of the trace that it was sent in."""
        message = delivery.message
        attributes = {
            **self._messaging,
            "messaging.operation.name": "generate",
            "messaging.operation.type": "process",
            "messaging.message.id": message.task_id,
            "seedmill.job.id": message.job_id,
            "seedmill.chunk.number": message.chunk,
            "seedmill.chunk.seeds": len(message.seeds),
            "seedmill.chunk.verdict": str(start.verdict),
            "seedmill.chunk.delivery": start.deliveries,
            "seedmill.chunk.deaths": start.deaths,
        }
        context = self._propagator.extract(unpack(delivery.trace or start.trace))
        with self._current("seedmill generate", context, attributes, kind=SpanKind.CONSUMER) as span:
            yield span

    def recorded(self, chunk: Span, value: Mapping[str, Any]) -> None:
        """Note how a chunk ended."""
        failures = [seed for seed in value["seeds"] if seed["status"] == SeedStatus.FAILED]
        cached = sum(seed["cached"] for seed in value["seeds"])
        counts = {name: value[name] for name in ("succeeded", "failed", "canceled")} | {"cached": cached}
        chunk.set_attributes({f"seedmill.chunk.{name}": count for name, count in counts.items()})
        for seed in failures[:MAX_FAILURES]:
            kind, reason = seed["error"]["type"], seed["error"]["message"][:MAX_REASON_CHARACTERS]
            chunk.add_event("seed failed", {"seedmill.seed": seed["seed"], "error.type": kind, "error.message": reason})
        if failures:
            chunk.set_status(StatusCode.ERROR, f"{len(failures)} of {len(value['seeds'])} seeds failed")

    @contextmanager
    def batch(self, name: str, items: Sequence[Work]) -> Iterator[Span]:
        """Trace the device's work at a batch."""
        chunks = _sampled(chunk for item in items for chunk in item.chunks)
        attributes = {"seedmill.batch.id": name, "seedmill.batch.seeds": len(items)}
        with self._current("seedmill batch", Context(), attributes, links=_links(chunks)) as span:
            for item in items:
                item.batch_trace = span
            yield span

    @contextmanager
    def publication(self, item: Work) -> Iterator[None]:
        """Trace the publication of a seed, with its stages, unless the chunk that wanted it first is not traced."""
        if not _sampled(item.chunks[:1]):
            yield
            return
        first, *others = item.chunks
        attributes = {
            "seedmill.seed": item.seed,
            "seedmill.batch.id": item.batch,
            **{f"seedmill.{name}": spent for name, spent in item.timings.items()},
        }
        links = _links(_sampled([item.batch_trace, *others]))
        with self._current("seedmill publish", set_span_in_context(first, Context()), attributes, links=links) as span:
            item.traced = lambda stage: _harmless(self._tracer.start_as_current_span(stage))
            yield
            _tell(span, item.outcome)

    def close(self) -> None:
        """Send what is left, within :data:`FLUSH_S`."""
        if not self._export.close(FLUSH_S):
            log.warning("the last spans were not sent in time", action="tracing_cut", after_s=FLUSH_S)

    @contextmanager
    def _current(
        self,
        name: str,
        context: Context,
        attributes: Mapping[str, Any],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
    ) -> Iterator[Span]:
        """Yield a span that is the current one of this thread, whose log lines have its trace id."""
        spans = self._tracer.start_as_current_span(name, context, kind, attributes, links)
        with _harmless(spans) as span, structlog.contextvars.bound_contextvars(trace_id=_trace_id(span)):
            yield span


@contextmanager
def _harmless(spans: AbstractContextManager[Span]) -> Iterator[Span]:
    """Yield the span, or one that records nothing: whatever processors of others raise, the work goes on."""
    try:
        span = spans.__enter__()
    except Exception as error:
        log.warning("not traced", action="tracing_failed", error=repr(error))
        yield INVALID_SPAN
        return
    try:
        yield span
    except BaseException:
        _leave(spans, *sys.exc_info())
        raise
    _leave(spans, None, None, None)


def _leave(spans: AbstractContextManager[Span], *error: Any) -> None:
    try:
        spans.__exit__(*error)
    except Exception as failed:
        if failed is not error[1]:
            log.warning("a span was lost", action="tracing_failed", error=repr(failed))


def _trace_id(span: Span) -> str:
    return format_trace_id(span.get_span_context().trace_id)


def _sampled(spans: Iterable[Span]) -> list[Span]:
    """Return those of the spans that are sent, each once."""
    return [span for span in dict.fromkeys(spans) if span.get_span_context().trace_flags.sampled]


def _links(spans: Iterable[Span]) -> list[Link]:
    return [Link(span.get_span_context()) for span in spans]


def _tell(span: Span, outcome: Outcome) -> None:
    """Note how a seed ended."""
    if isinstance(outcome, GivenBack):
        span.set_status(StatusCode.ERROR, str(outcome)[:MAX_REASON_CHARACTERS])
    elif isinstance(outcome, SeedResult) and outcome.error:
        span.set_attribute("error.type", outcome.error["type"])
        span.set_status(StatusCode.ERROR, outcome.error["message"][:MAX_REASON_CHARACTERS])
    elif outcome is None:
        span.add_event("nobody wants it any more")
