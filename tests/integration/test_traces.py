"""The trace context on its way from an app through the job's record, or a Celery message, to the worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from producer import JobConflict, attempts
from producer.attempts import Start, Verdict
from producer.connection import connect
from producer.contract import QUEUE, TASK_NAME, job_key
from producer.message import ChunkMessage
from producer.tracing import MAX_CHARACTERS, unpack
from tests.integration.conftest import HELD, Hand, Make, over_redis
from tests.support import run_python
from tests.tracing import Kept, app_that_traces, attributes, parent_id, span_id, trace_id
from worker.local.stack import Endpoints
from worker.queue.envelope import open_envelope
from worker.queue.ledger import Ledger
from worker.task import register


@pytest.fixture
def kept() -> Kept:
    return app_that_traces()


def start(hand: Hand, message: ChunkMessage, *, adopt: bool = False) -> Start:
    """Begin with a chunk as a worker does."""
    hand.client._redis.hset(HELD, message.task_id, "0message")
    call = attempts.start_chunk(message, held=HELD, tag=message.task_id, adopt=adopt, alone=True, ttl_s=60)
    return Start.parse(hand.client._run(call))


def context_of(text: str) -> SpanContext:
    found = TraceContextTextMapPropagator().extract(unpack(text))
    return trace.get_current_span(found).get_span_context()


@over_redis
def test_a_submit_is_a_producers_span_of_the_app_and_every_chunk_is_started_in_its_context(
    kept: Kept, make: Make, hand: Hand
) -> None:
    with kept.app() as app:
        job = make().submit([1, 2, 3], job_id="traced", force=True)
    span = kept.one("seedmill submit")
    assert (trace_id(span), parent_id(span), span.kind) == (trace_id(app), span_id(app), SpanKind.PRODUCER)
    assert attributes(span) == {
        "messaging.system": "celery",
        "messaging.destination.name": QUEUE,
        "messaging.operation.name": "submit",
        "messaging.operation.type": "send",
        "seedmill.job.id": "traced",
        "seedmill.job.seeds": 3,
        "seedmill.job.priority": "bulk",
        "seedmill.job.force": True,
    }
    for message in hand.take():
        found = context_of(start(hand, message).trace)
        assert (found.trace_id, found.span_id, found.trace_flags.sampled) == (trace_id(app), span_id(span), True)
    assert job.refresh().counts.running == 3, "and the record is read as any other"


@over_redis
def test_a_job_that_exists_keeps_the_context_of_its_first_submit(kept: Kept, make: Make, hand: Hand) -> None:
    client = make()
    client.submit([1], job_id="j")
    client.submit([1], job_id="j")
    first, _ = kept.named("seedmill submit")
    (message,) = hand.take()
    assert context_of(start(hand, message).trace).span_id == span_id(first)


@over_redis
def test_a_submit_that_is_refused_is_an_error(kept: Kept, make: Make) -> None:
    client = make()
    client.submit([1], job_id="j")
    kept.exporter.clear()
    with pytest.raises(JobConflict):
        client.submit([2], job_id="j")
    assert kept.one("seedmill submit").status.status_code is StatusCode.ERROR


@over_redis
@pytest.mark.parametrize("length", [10, MAX_CHARACTERS])
def test_a_trace_state_travels_unless_it_is_too_long_for_the_record(
    kept: Kept, make: Make, hand: Hand, length: int
) -> None:
    state = TraceState([(f"vendor{number}", "x" * (length // 8)) for number in range(8)])
    remote = NonRecordingSpan(SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=state))
    with trace.use_span(remote):
        make().submit([1], job_id="j")
    (message,) = hand.take()
    carrier = unpack(start(hand, message).trace)
    assert carrier["traceparent"].split("-")[1] == f"{7:032x}"
    assert ("tracestate" in carrier) == (length < MAX_CHARACTERS)
    assert len(str(hand.client._redis.hget(job_key("j"), "trace"))) <= MAX_CHARACTERS


def test_a_record_of_an_app_that_does_not_trace_has_no_such_field_and_is_started_all_the_same(hand: Hand) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = sys.modules['opentelemetry.trace'] = None\n"
        "from producer import Client\n"
        "with Client(sys.argv[1]) as client: client.submit([1], job_id='j')"
    )
    done = run_python("-c", code, hand.client.settings.redis_url)
    assert done.returncode == 0, done.stderr
    assert not hand.client._redis.hexists(job_key("j"), "trace")
    (message,) = hand.take()
    assert (start(hand, message).verdict, start(hand, message).trace) == (Verdict.RUN, "")


def test_a_record_that_a_worker_makes_for_a_foreign_app_has_no_context(hand: Hand) -> None:
    begun = start(hand, ChunkMessage("t", "t", 0, (1,)), adopt=True)
    assert (begun.verdict, begun.trace) == (Verdict.RUN, "")


@pytest.fixture
def celery(quiet: Endpoints) -> Iterator[Celery]:
    app = Celery(broker=quiet.redis_url, set_as_current=False)
    yield app
    app.close()


def received(url: str) -> Any:
    """Take the only message, and hand it to the task as Celery does; returns the trace context that it brought."""
    client = connect(url, decode=False)
    ledger = Ledger(client, limit=1, seeds=9, result_ttl_s=60)
    (taken,) = ledger.take()
    message = open_envelope(taken)
    seen: list[Any] = []
    app = Celery(set_as_current=False)
    register(app, lambda received: seen.append(received.trace))
    task: Any = app.tasks[TASK_NAME]
    task.push_request(**message["headers"], properties=message["properties"])
    task.run(seeds=[1])
    ledger.leave()
    ledger.close()
    return seen[0]


@pytest.mark.parametrize("nested", [False, True])
def test_a_celery_app_sends_its_context_in_the_headers_of_its_message(
    kept: Kept, celery: Celery, quiet: Endpoints, nested: bool
) -> None:
    with kept.app() as app:
        headers: dict[str, Any] = {}
        TraceContextTextMapPropagator().inject(headers)
        celery.send_task(TASK_NAME, args=[[1]], queue=QUEUE, headers={"headers": headers} if nested else headers)
    found = context_of(received(quiet.redis_url))
    assert (found.trace_id, found.span_id) == (trace_id(app), span_id(app))
