"""The trace context as it travels, and where the spans of our own processes go."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import opentelemetry.trace
import pytest

from producer.otel import Export, open_export
from producer.tracing import MAX_CHARACTERS, pack, unpack
from tests.support import run_python
from tests.tracing import Kept
from worker.monitoring.tracing import OFF, open_traces
from worker.task import read_trace

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CONTEXT = {"traceparent": PARENT, "tracestate": "vendor=1"}
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def test_a_trace_context_survives_its_journey() -> None:
    assert unpack(pack(CONTEXT)) == CONTEXT
    assert unpack(pack({"traceparent": PARENT})) == {"traceparent": PARENT}


def test_a_trace_state_that_is_too_long_is_left_behind() -> None:
    text = pack({"traceparent": PARENT, "tracestate": "x" * MAX_CHARACTERS})
    assert unpack(text) == {"traceparent": PARENT}
    assert pack({"traceparent": "x" * MAX_CHARACTERS}) == ""


@pytest.mark.parametrize("carrier", [{}, {"tracestate": "vendor=1"}, {"traceparent": None}, {"traceparent": [PARENT]}])
def test_what_is_no_trace_context_does_not_travel(carrier: dict[str, Any]) -> None:
    assert pack(carrier) == ""


@pytest.mark.parametrize("text", ["", "{", "7", "[1]", '{"traceparent": 7}', "[" * 100_000])
def test_what_is_no_trace_context_is_read_as_none(text: str) -> None:
    assert unpack(text) == {}


class Request(dict[str, Any]):
    """A request as Celery has it: headers that it does not know are its attributes."""

    def __init__(self, headers: object = None, **attributes: Any) -> None:
        super().__init__(attributes)
        self.headers = headers


@pytest.mark.parametrize("request_", [Request(**CONTEXT), Request(CONTEXT), Request({"other": 1}, **CONTEXT)])
def test_the_headers_of_a_message_may_bring_a_trace_context(request_: Request) -> None:
    assert unpack(read_trace(request_)) == CONTEXT


@pytest.mark.parametrize(
    "request_", [Request(), Request({}), Request("text"), Request([PARENT]), Request(traceparent=7)]
)
def test_odd_headers_bring_none(request_: Request) -> None:
    assert read_trace(request_) == ""


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_SDK_DISABLED": "True"}, None),
        ({"OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin': use otlp or none"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL='grpc': use http/protobuf"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "3"}, "max_queue_size"),
    ],
)
def test_no_spans_are_sent_where_the_environment_says_so_or_cannot_be_followed(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str | None
) -> None:
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", None)  # another test's, which would be used
    if environment:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    assert open_export("seedmill", said.append) is None
    assert len(said) == (words is not None)
    assert all("OTEL_EXPORTER_OTLP_ENDPOINT is set" in text and str(words) in text for text in said)


def test_without_the_extra_the_worker_is_told_what_to_install_and_traces_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    said: list[str] = []
    assert open_export("seedmill", said.append) is None
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set" in said[0]
    assert "pip install opentelemetry-sdk" in said[0]
    assert open_traces() is OFF


RESOURCE = """
import json
from producer.otel import open_export
print(json.dumps(dict(open_export("seedmill-worker", print).provider.resource.attributes)))
"""


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, {"service.name": "seedmill-worker"}),
        ({"OTEL_SERVICE_NAME": "mill"}, {"service.name": "mill"}),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=mill,host.name=h,team=a"},
            {"service.name": "mill", "host.name": "h", "team": "a"},
        ),
    ],
)
def test_spans_say_whose_they_are_and_the_standard_variables_have_the_last_word(
    environment: dict[str, str], wanted: dict[str, str]
) -> None:
    done = run_python("-c", RESOURCE, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **environment})
    assert done.returncode == 0, done.stderr
    resource = json.loads(done.stdout)
    assert resource.items() >= wanted.items()
    assert {"service.version", "host.name", "process.pid"} <= resource.keys()


AUTOMATIC = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from producer.otel import open_export
provider = TracerProvider()
trace.set_tracer_provider(provider)
print(open_export("seedmill-worker", print).provider is provider)
"""


def test_a_provider_that_the_process_has_already_is_used() -> None:
    done = run_python("-c", AUTOMATIC, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_flush_that_does_not_end_is_left() -> None:
    provider: Any = Kept().provider
    assert Export(provider).close(5)
    left = threading.Event()
    provider.shutdown = left.wait
    assert not Export(provider).close(0.05)
    left.set()
