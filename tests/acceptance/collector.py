"""A collector of traces: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def values(pairs: object) -> dict[str, str | int]:
    """Return attributes as a mapping; of kinds only texts and numbers."""
    found: dict[str, str | int] = {}
    for pair in pairs:  # type: ignore[attr-defined]
        assert isinstance(pair, KeyValue)
        found[pair.key] = getattr(pair.value, str(pair.value.WhichOneof("value")))
    return found


class Collector:
    """What was received so far."""

    def __init__(self) -> None:
        self.spans: list[tuple[dict[str, str | int], Span]] = []
        """Spans with the attributes of their resource."""
        self.endpoint = ""

    def take(self, request: ExportTraceServiceRequest) -> None:
        for group in request.resource_spans:
            resource = values(group.resource.attributes)
            self.spans += [(resource, span) for scope in group.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Span]:
        return [span for _, span in self.spans if span.name == name]

    def services(self, name: str) -> set[str | int]:
        return {resource["service.name"] for resource, span in self.spans if span.name == name}


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Yield a collector that listens."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the standard library's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.take(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield collector
        server.shutdown()
        thread.join()
