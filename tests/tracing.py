"""OpenTelemetry in this process, as an app has it: spans are kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from producer.otel import Export
from worker.monitoring.spans import Spans


class Kept:
    """A provider whose ended spans can be looked at."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def spans(self) -> Spans:
        return Spans(Export(self.provider))

    @contextmanager
    def app(self, name: str = "app") -> Iterator[trace.Span]:
        """Work inside a span of an app."""
        with self.provider.get_tracer("app").start_as_current_span(name) as span:
            yield span


@cache
def _process_wide() -> Kept:
    kept = Kept()
    trace.set_tracer_provider(kept.provider)
    return kept


def app_that_traces() -> Kept:
    """Make this process an app that traces, as it then stays; returns its spans, of which there are none yet."""
    kept = _process_wide()
    kept.exporter.clear()
    return kept


def parent_id(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def span_id(span: ReadableSpan | trace.Span) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_id(span: ReadableSpan | trace.Span) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})
