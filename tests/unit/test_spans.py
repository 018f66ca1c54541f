"""What the worker's spans say, which belongs to which, and what an error leaves in them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id
from structlog.testing import capture_logs

from producer.attempts import Start, Verdict
from producer.contract import SeedStatus
from producer.message import ChunkMessage, SeedResult
from tests.tracing import Kept, attributes, parent_id, span_id, trace_id
from tests.unit.fakes import MODEL, FakeModel, FakeStore
from tests.unit.test_chunk import FakeMill, FakeRecorder
from worker.chunk import ChunkRunner
from worker.errors import GivenBack, StorageUnreachable
from worker.monitoring.spans import MAX_FAILURES
from worker.order import Order
from worker.pipeline import Pipeline
from worker.publish import Publisher
from worker.queue.gate import Gate
from worker.results import Delivery
from worker.running import Running
from worker.work import Outcome

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CONTEXT = f'{{"traceparent": "00-{TRACE}-{PARENT}-01"}}'
UNSAMPLED = f'{{"traceparent": "00-{TRACE}-{PARENT}-00"}}'
DELIVERY = Delivery(ChunkMessage("t", "j", 2, (7, 8, 9, 7)), "1.0")
RUN = Start(Verdict.RUN, trace=CONTEXT)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def run(kept: Kept, start: Start = RUN, mill: FakeMill | None = None, delivery: Delivery = DELIVERY) -> ReadableSpan:
    """Run a chunk; returns its span."""
    recorder: Any = FakeRecorder(start)
    ChunkRunner(mill or FakeMill(), recorder, Gate(), Running(), kept.spans()).run(delivery)
    return kept.one("seedmill generate")


def test_a_chunk_is_a_consumers_span_in_the_trace_of_its_submit(kept: Kept) -> None:
    span = run(kept, replace(RUN, deliveries=2, deaths=1))
    assert span.kind is SpanKind.CONSUMER
    assert format_trace_id(trace_id(span)) == TRACE
    assert parent_id(span) == int(PARENT, 16)
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "messaging.system": "celery",
        "messaging.destination.name": "seedmill",
        "messaging.operation.name": "generate",
        "messaging.operation.type": "process",
        "messaging.message.id": "t",
        "seedmill.job.id": "j",
        "seedmill.chunk.number": 2,
        "seedmill.chunk.seeds": 4,
        "seedmill.chunk.verdict": "run",
        "seedmill.chunk.delivery": 2,
        "seedmill.chunk.deaths": 1,
        "seedmill.chunk.succeeded": 4,
        "seedmill.chunk.failed": 0,
        "seedmill.chunk.canceled": 0,
        "seedmill.chunk.cached": 0,
    }


def test_the_context_that_a_message_itself_brought_counts_before_that_of_the_record(kept: Kept) -> None:
    other = CONTEXT.replace(TRACE, "1" * 32)
    assert format_trace_id(trace_id(run(kept, delivery=replace(DELIVERY, trace=other)))) == "1" * 32


@pytest.mark.parametrize("context", ["", "{", '{"traceparent": "nonsense"}'])
def test_a_chunk_without_a_context_is_a_trace_of_its_own(kept: Kept, context: str) -> None:
    assert run(kept, replace(RUN, trace=context)).parent is None


def test_what_was_published_before_is_counted_as_cached(kept: Kept) -> None:
    class Finds(FakeMill):
        def find(self, seeds: Sequence[int], order: Order, *, whole: bool) -> list[Outcome]:
            return [SeedResult(seed, SeedStatus.SUCCEEDED, cached=True) for seed in seeds]

    span = run(kept, replace(RUN, known=frozenset({8, 9})), Finds())
    assert attributes(span)["seedmill.chunk.cached"] == 2


def test_failed_seeds_are_an_error_of_their_chunk_which_names_them(kept: Kept) -> None:
    span = run(kept, mill=FakeMill(outcomes={8: SeedResult.failure(8, ValueError("cannot"))}))
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "1 of 4 seeds failed")
    (event,) = span.events
    assert dict(event.attributes or {}) == {"seedmill.seed": 8, "error.type": "ValueError", "error.message": "cannot"}


def test_of_many_failed_seeds_a_few_are_named(kept: Kept) -> None:
    seeds = tuple(range(100))
    mill = FakeMill(outcomes={seed: SeedResult.failure(seed, ValueError("cannot")) for seed in seeds})
    span = run(kept, mill=mill, delivery=replace(DELIVERY, message=ChunkMessage("t", "j", 2, seeds)))
    assert attributes(span)["seedmill.chunk.failed"] == 100
    assert len(span.events) == MAX_FAILURES


def test_a_chunk_that_is_given_back_is_an_error_with_the_reason(kept: Kept) -> None:
    with pytest.raises(GivenBack):
        run(kept, mill=FakeMill(outcomes={8: GivenBack("the worker is stopping")}))
    span = kept.one("seedmill generate")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "GivenBack: the worker is stopping")


def test_a_chunk_that_is_not_run_says_why(kept: Kept) -> None:
    span = run(kept, Start(Verdict.CANCELED, trace=CONTEXT))
    assert attributes(span)["seedmill.chunk.verdict"] == "canceled"
    assert "seedmill.chunk.succeeded" not in attributes(span)


class Mill:
    """A pipeline that traces, with chunks made by hand."""

    def __init__(self, kept: Kept, model: FakeModel, store: FakeStore) -> None:
        self.spans = kept.spans()
        publisher = Publisher(store, MODEL, patience_s=0)
        self.pipeline = Pipeline(model, publisher, max_batch=8, upload_threads=2, traces=self.spans)

    def chunk(self, job: str, seeds: Sequence[int], context: str = CONTEXT) -> list[Outcome]:
        delivery = Delivery(ChunkMessage(job, job, 0, tuple(seeds)))
        with self.spans.chunk(delivery, Start(Verdict.RUN, trace=context)) as trace:
            order = Order(job)
            order.trace = trace
            return self.pipeline.process(seeds, order)

    def chunks(self, *chunks: tuple[str, Sequence[int]]) -> None:
        """Have all of these in line before the device begins, so that they are one batch."""
        wanted = [(job, seed) for job, seeds in chunks for seed in seeds]
        with ThreadPoolExecutor(len(chunks)) as pool:
            futures = [pool.submit(self.chunk, *chunk) for chunk in chunks]
            while self._joined() < len(wanted) or len(self.pipeline._batcher) < len({seed for _, seed in wanted}):
                time.sleep(0.001)
            self.pipeline.start()
            for future in futures:
                future.result(20)
        self.pipeline.close()

    def _joined(self) -> int:
        return sum(len(work.chunks) for work in list(self.pipeline._in_flight._work.values()))


@pytest.fixture
def mill(kept: Kept) -> Iterator[Mill]:
    mill = Mill(kept, FakeModel(bad=[6]), FakeStore(refuse="0000000005.json"))
    yield mill
    mill.pipeline.close()


def of_job(kept: Kept, job: str) -> ReadableSpan:
    (span,) = [span for span in kept.named("seedmill generate") if attributes(span)["seedmill.job.id"] == job]
    return span


def of_seed(kept: Kept, seed: int) -> ReadableSpan:
    (span,) = [span for span in kept.named("seedmill publish") if attributes(span)["seedmill.seed"] == seed]
    return span


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def test_a_batch_links_to_every_chunk_that_has_seeds_in_it(kept: Kept, mill: Mill) -> None:
    mill.chunks(("a", [1, 2]), ("b", [3]))
    batch = kept.one("seedmill batch")
    assert linked(batch) == {span_id(of_job(kept, "a")), span_id(of_job(kept, "b"))}
    assert batch.parent is None
    assert attributes(batch)["seedmill.batch.seeds"] == 3


def test_a_publication_belongs_to_the_chunk_of_its_seed_and_names_its_batch(kept: Kept, mill: Mill) -> None:
    mill.chunks(("a", [1, 2]), ("b", [3]))
    batch = kept.one("seedmill batch")
    for seed, job in ((1, "a"), (2, "a"), (3, "b")):
        span = of_seed(kept, seed)
        assert parent_id(span) == span_id(of_job(kept, job))
        assert linked(span) == {span_id(batch)}
        assert attributes(span)["seedmill.batch.id"] == attributes(batch)["seedmill.batch.id"] != ""
        assert {"seedmill.queue_ms", "seedmill.generate_ms"} <= attributes(span).keys()


def test_who_wants_the_same_seed_later_is_linked(kept: Kept, mill: Mill) -> None:
    mill.chunks(("a", [1]), ("b", [1]))
    span = of_seed(kept, 1)
    jobs = {span_id(of_job(kept, job)) for job in ("a", "b")}
    assert linked(kept.one("seedmill batch")) == jobs
    assert {parent_id(span)} | linked(span) == jobs | {span_id(kept.one("seedmill batch"))}


def test_the_stages_of_a_publication_are_its_children_one_after_the_other(kept: Kept, mill: Mill) -> None:
    mill.chunks(("a", [1]))
    whole = of_seed(kept, 1)
    stages = [kept.one(name) for name in ("encode", "put_image", "put_metadata")]
    assert {parent_id(stage) for stage in stages} == {span_id(whole)}
    times = [time for span in stages for time in (span.start_time or 0, span.end_time or 0)]
    assert times == sorted(times)
    assert (whole.start_time or 0) <= times[0] <= times[-1] <= (whole.end_time or 0)


def test_a_publication_that_fails_is_an_error_down_to_its_stage(kept: Kept, mill: Mill) -> None:
    mill.chunks(("a", [4, 5]))
    span = of_seed(kept, 5)
    assert attributes(span)["error.type"] == "StorageError"
    assert span.status.status_code is StatusCode.ERROR
    stages = [stage for stage in kept.named("put_metadata") if parent_id(stage) == span_id(span)]
    assert [stage.status.status_code for stage in stages] == [StatusCode.ERROR]
    assert of_seed(kept, 4).status.status_code is StatusCode.UNSET


def test_a_seed_that_cannot_be_generated_has_no_publication(kept: Kept, mill: Mill) -> None:
    mill.chunks(("a", [6, 7]))
    assert [attributes(span)["seedmill.seed"] for span in kept.named("seedmill publish")] == [7]


def test_a_seed_that_goes_back_says_why(kept: Kept) -> None:
    class Away(FakeStore):
        def put(self, key: str, data: bytes, content_type: str, *, sha256: str = "") -> None:
            raise StorageUnreachable("away")

    Mill(kept, FakeModel(), Away()).chunks(("a", [1]))
    assert of_seed(kept, 1).status.description == "away"


def test_what_the_app_has_not_sampled_makes_no_spans_and_is_linked_to_by_none(kept: Kept, mill: Mill) -> None:
    mill.pipeline.start()
    assert all(isinstance(outcome, SeedResult) for outcome in mill.chunk("a", [1, 2], UNSAMPLED))
    mill.pipeline.close()
    names = {span.name for span in kept.exporter.get_finished_spans()}
    assert names == {"seedmill batch"}, "that is a trace of its own"
    assert all(not span.links for span in kept.named("seedmill batch"))


def test_log_lines_carry_the_trace_id_of_the_span_that_they_are_written_in(kept: Kept) -> None:
    log = structlog.get_logger()
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        log.info("before")
        with kept.spans().chunk(DELIVERY, RUN):
            log.info("inside")
        log.info("after")
    assert [line.get("trace_id") for line in lines] == [None, TRACE, None]


def test_a_trace_that_breaks_costs_no_seed_its_outcome(kept: Kept) -> None:
    mill = Mill(kept, FakeModel(), FakeStore())
    mill.spans.publication = lambda item: [][0]  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        mill.pipeline.start()
        (outcome,) = pool.submit(mill.chunk, "a", [1]).result(10)
    mill.pipeline.close()
    assert isinstance(outcome, SeedResult)


class Breaking(SpanProcessor):
    """A processor of somebody else, with a bug."""

    def __init__(self, at: str) -> None:
        self._at = at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self._at == "start":
            raise RuntimeError("a bug")

    def on_end(self, span: Any) -> None:
        if self._at == "end":
            raise RuntimeError("a bug")


@pytest.mark.parametrize("at", ["start", "end"])
def test_a_processor_that_raises_costs_spans_and_no_work(kept: Kept, at: str) -> None:
    kept.provider.add_span_processor(Breaking(at))
    pipeline = Pipeline(
        FakeModel(), Publisher(FakeStore(), MODEL, patience_s=0), max_batch=4, upload_threads=2, traces=kept.spans()
    )
    pipeline.start()
    recorder: Any = FakeRecorder(RUN)
    with capture_logs() as lines:
        ChunkRunner(pipeline, recorder, Gate(), Running(), kept.spans()).run(DELIVERY)
    assert pipeline.close(10)
    assert [result.status for result in recorder.results] == [SeedStatus.SUCCEEDED] * len(DELIVERY.message.seeds)
    assert any(line["action"] == "tracing_failed" for line in lines)


def test_an_error_of_the_work_is_not_taken_for_one_of_the_trace(kept: Kept) -> None:
    kept.provider.add_span_processor(Breaking("end"))
    with pytest.raises(GivenBack, match="as it was"), kept.spans().chunk(DELIVERY, RUN):
        raise GivenBack("as it was")
