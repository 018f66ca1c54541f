"""One trace from an app through the queue into a real worker, as a collector sees it; and what a dead one costs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from celery import Celery
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from producer import Client
from producer.contract import QUEUE, TASK_NAME, JobStatus
from tests.acceptance.collector import Collector, running_collector, values
from tests.support import one_line, run_seedmill
from tests.torture.proxy import Proxy
from tests.tracing import Kept, app_that_traces, span_id, trace_id
from worker.local.process import Process
from worker.local.stack import Endpoints, Stack
from worker.monitoring.spans import FLUSH_S

TIMEOUT_S = 60
STAGES = ("encode", "put_image", "put_metadata")


@pytest.fixture
def kept() -> Kept:
    return app_that_traces()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture
def client(quiet: Endpoints) -> Iterator[Client]:
    with Client(quiet.redis_url, chunk_size=4) as client:
        yield client


class Workers:
    """Workers of a small model on a database of their own."""

    def __init__(self, stack: Stack, quiet: Endpoints, model: Path) -> None:
        self._stack = stack
        self._environment = {
            "SEEDMILL_CHECKPOINT": str(model / "best.pt"),
            "SEEDMILL_REDIS_URL": quiet.redis_url,
        }

    def start(self, endpoint: str, **more: str) -> Process:
        environment = {**self._environment, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **more}
        return self._stack.start_worker(environment, wait=False)


@pytest.fixture
def workers(stack: Stack, quiet: Endpoints, tiny_model: Path) -> Workers:
    return Workers(stack, quiet, tiny_model)


def lines(worker: Process) -> list[dict[str, object]]:
    return [json.loads(line) for line in worker.output().splitlines() if line.startswith("{")]


def of(spans: list[Span], attribute: str, value: str | int) -> list[Span]:
    return [span for span in spans if values(span.attributes).get(attribute) == value]


def number(identifier: bytes) -> int:
    return int.from_bytes(identifier)


def test_one_trace_leads_from_the_app_through_submit_and_chunks_to_every_publication(
    kept: Kept, collector: Collector, client: Client, workers: Workers
) -> None:
    with kept.app() as app:
        job = client.submit(range(600, 606), force=True)
    client.submit([700], force=True)
    worker = workers.start(collector.endpoint)
    job.wait(TIMEOUT_S)
    assert worker.stop(grace_s=30) == 0

    submit = next(span for span in kept.named("seedmill submit") if trace_id(span) == trace_id(app))
    chunks = of(collector.named("seedmill generate"), "seedmill.job.id", job.id)
    assert {values(span.attributes)["seedmill.chunk.number"] for span in chunks} == {0, 1}
    assert {number(span.trace_id) for span in chunks} == {trace_id(app)}
    assert {number(span.parent_span_id) for span in chunks} == {span_id(submit)}

    ids = {span.span_id for span in chunks}
    published = [span for span in collector.named("seedmill publish") if span.parent_span_id in ids]
    assert {values(span.attributes)["seedmill.seed"] for span in published} == set(range(600, 606))
    for span in published:
        assert number(span.trace_id) == trace_id(app)
        stages = [stage for _, stage in collector.spans if stage.parent_span_id == span.span_id]
        assert [stage.name for stage in sorted(stages, key=lambda one: one.start_time_unix_nano)] == list(STAGES)
        (batch,) = of(
            collector.named("seedmill batch"), "seedmill.batch.id", values(span.attributes)["seedmill.batch.id"]
        )
        assert span.parent_span_id in {link.span_id for link in batch.links}
        assert batch.span_id in {link.span_id for link in span.links}
    assert collector.services("seedmill publish") == {"seedmill-worker"}


def test_the_lines_of_a_job_carry_its_trace_id_and_a_worker_that_does_not_trace_has_none(
    kept: Kept, collector: Collector, client: Client, workers: Workers
) -> None:
    found = []
    for endpoint in (collector.endpoint, ""):
        with kept.app() as app:
            job = client.submit([710], force=True)
        worker = workers.start(endpoint)
        job.wait(TIMEOUT_S)
        assert worker.stop(grace_s=30) == 0
        ids = {line.get("trace_id") for line in lines(worker) if line.get("job_id") == job.id}
        found.append((ids, f"{trace_id(app):032x}"))
    (traced, wanted), (untraced, _) = found
    assert traced == {wanted}
    assert untraced == {None}


def test_a_celery_app_that_traces_is_followed_by_its_headers(
    kept: Kept, collector: Collector, quiet: Endpoints, workers: Workers
) -> None:
    celery = Celery(broker=quiet.redis_url, backend=quiet.redis_url, set_as_current=False)
    with kept.app() as app:
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers)
        answer = celery.send_task(TASK_NAME, args=[[720, 721]], queue=QUEUE, headers=headers)
    worker = workers.start(collector.endpoint)
    assert answer.get(timeout=TIMEOUT_S)["succeeded"] == 2
    assert worker.stop(grace_s=30) == 0
    celery.close()
    (chunk,) = collector.named("seedmill generate")
    assert (number(chunk.trace_id), number(chunk.parent_span_id)) == (trace_id(app), span_id(app))
    assert {number(span.trace_id) for span in collector.named("seedmill publish")} == {trace_id(app)}


def test_a_chunk_that_is_given_back_is_an_error_and_its_next_delivery_is_in_the_same_trace(
    kept: Kept, collector: Collector, client: Client, workers: Workers, endpoints: Endpoints
) -> None:
    proxy = Proxy(int(endpoints.s3_url.rpartition(":")[2]))
    store = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{proxy.port}", "SEEDMILL_S3_PATIENCE_S": "0"}
    worker = workers.start(collector.endpoint, **store)
    worker.wait_ready(lambda: bool(client.queue().workers), timeout_s=TIMEOUT_S)
    proxy.refuse = True
    proxy.reset()
    with kept.app() as app:
        job = client.submit([730], force=True)
    worker.wait_ready(lambda: "chunk_given_back" in worker.output(), timeout_s=TIMEOUT_S)
    proxy.refuse = False
    job.wait(TIMEOUT_S)
    assert worker.stop(grace_s=30) == 0
    proxy.close()
    first, *_, last = sorted(collector.named("seedmill generate"), key=lambda span: span.start_time_unix_nano)
    assert first.status.code == Status.STATUS_CODE_ERROR
    assert first.status.message.startswith("StorageSilent: ")
    assert last.status.code == Status.STATUS_CODE_UNSET
    assert values(last.attributes)["seedmill.chunk.delivery"] == 2
    assert {number(span.trace_id) for span in (first, last)} == {trace_id(app)}


def test_the_command_is_where_a_trace_begins(
    collector: Collector, client: Client, quiet: Endpoints, workers: Workers
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    done = run_seedmill("submit", "740", "--redis-url", quiet.redis_url, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    worker = workers.start(collector.endpoint)
    client.wait(done.stdout.strip(), TIMEOUT_S)
    assert worker.stop(grace_s=30) == 0
    (submit,), (chunk,) = collector.named("seedmill submit"), collector.named("seedmill generate")
    assert (chunk.trace_id, chunk.parent_span_id) == (submit.trace_id, submit.span_id)
    assert collector.services("seedmill submit") == {"seedmill"}


@pytest.fixture(params=["away", "silent"])
def dead_endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where nothing listens, or where connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if request.param == "away":
            listening.close()
        yield f"http://127.0.0.1:{port}"


def test_a_dead_collector_costs_spans_and_nothing_else(client: Client, workers: Workers, dead_endpoint: str) -> None:
    worker = workers.start(dead_endpoint, OTEL_BSP_SCHEDULE_DELAY="60000")
    job = client.submit(range(750, 758), force=True).wait(TIMEOUT_S)
    assert job.status is JobStatus.SUCCEEDED
    assert worker.stop(grace_s=FLUSH_S + 10) == 0, "neither killed nor hung"
    actions = [line.get("action") for line in lines(worker)]
    assert actions.index("tracing_on") < actions.index("chunk_finished") < actions.index("tracing_cut")
    assert client.queue().held == 0


def test_a_command_whose_collector_is_dead_has_enqueued_its_job(
    client: Client, quiet: Endpoints, dead_endpoint: str
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": dead_endpoint}
    done = run_seedmill("submit", "760", "--redis-url", quiet.redis_url, environment=environment)
    assert done.returncode == 0
    assert "the collector of traces does not answer" in one_line(done.stderr)
    assert client.get(done.stdout.strip()).status is JobStatus.QUEUED


@pytest.fixture
def without_extra(tmp_path: Path) -> dict[str, str]:
    """Variables of a process for which OpenTelemetry is not installed."""
    package = tmp_path / "opentelemetry"
    package.mkdir()
    (package / "__init__.py").write_text("raise ModuleNotFoundError('not here', name='opentelemetry')\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_without_the_extra_a_worker_says_what_to_install_and_serves(
    client: Client, workers: Workers, without_extra: Mapping[str, str]
) -> None:
    worker = workers.start("http://127.0.0.1:9", **without_extra)
    assert client.submit([770], force=True).wait(TIMEOUT_S).status is JobStatus.SUCCEEDED
    assert worker.stop(grace_s=30) == 0
    (line,) = [line for line in lines(worker) if line.get("action") == "tracing_unavailable"]
    assert "pip install opentelemetry-sdk" in str(line["event"])


def test_without_the_extra_the_command_says_so_in_a_line_and_enqueues(
    client: Client, quiet: Endpoints, without_extra: Mapping[str, str]
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **without_extra}
    done = run_seedmill("submit", "780", "--redis-url", quiet.redis_url, environment=environment)
    assert done.returncode == 0
    assert "pip install opentelemetry-sdk" in one_line(done.stderr)
    assert client.get(done.stdout.strip()).status is JobStatus.QUEUED
