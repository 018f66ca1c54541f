"""How a chunk is run: what is skipped, what is run alone, what is failed, what goes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from producer.attempts import Start, Verdict
from producer.contract import MAX_ATTEMPTS, Priority, SeedStatus
from producer.message import ChunkMessage, SeedResult, chunk_result
from worker.chunk import ChunkRunner
from worker.errors import GivenBack, InvalidMessage
from worker.order import Order
from worker.queue.gate import Gate
from worker.results import Delivery
from worker.running import Running
from worker.work import InFlight, Outcome

DELIVERY = Delivery(ChunkMessage("t", "j", 2, (7, 8, 9, 7)), "1.0")


class FakeRecorder:
    """Answers a start as told, and remembers what it was told."""

    def __init__(self, *starts: Start) -> None:
        self.starts = list(starts)
        self.begun = True
        self.said: list[Any] = []

    def start(self, delivery: Delivery, *, alone: bool) -> Start:
        self.said.append("start alone" if alone else "start")
        return self.starts.pop(0)

    def finish(self, delivery: Delivery, results: Sequence[SeedResult], attempts: int) -> dict[str, Any]:
        self.said.append([(result.seed, str(result.status)) for result in results])
        self.results = results
        return chunk_result(delivery.message, results)

    def drop(self, delivery: Delivery, verdict: Verdict) -> None:
        self.said.append(verdict)

    def has_begun(self, delivery: Delivery) -> bool:
        return self.begun

    def cancel(self, id_: str) -> None:
        self.said.append(f"canceled {id_}")

    def begin(self, delivery: Delivery, seed: int) -> None:
        self.said.append(f"begins {seed}")

    def condemn(self, delivery: Delivery, seed: int) -> None:
        self.said.append(f"condemned {seed}")


def succeed(seed: int) -> SeedResult:
    return SeedResult(seed, SeedStatus.SUCCEEDED)


class FakeMill:
    """Succeeds at every seed but those that it is told another outcome of."""

    def __init__(self, published: Sequence[int] = (), outcomes: dict[int, Outcome] | None = None) -> None:
        self.published = set(published)
        self.outcomes = outcomes or {}
        self.calls: list[list[int]] = []
        self.looks: list[tuple[list[int], bool]] = []

    def process(self, seeds: Sequence[int], order: Order) -> list[Outcome]:
        self.calls.append(list(seeds))
        return [self.outcomes.get(seed, succeed(seed)) for seed in seeds]

    def find(self, seeds: Sequence[int], order: Order, *, whole: bool) -> list[Outcome]:
        self.looks.append((list(seeds), whole))
        return [self.outcomes.get(seed) or (succeed(seed) if seed in self.published else None) for seed in seeds]


def run(recorder: FakeRecorder, mill: FakeMill, gate: Gate | None = None) -> Any:
    parts: Any = (mill, recorder)
    return ChunkRunner(parts[0], parts[1], gate or Gate(), Running()).run(DELIVERY)


GOOD = [(7, "succeeded"), (8, "succeeded"), (9, "succeeded"), (7, "succeeded")]


def test_a_chunk_is_run_together_and_recorded_in_the_order_of_its_message() -> None:
    recorder, mill = FakeRecorder(Start(Verdict.RUN)), FakeMill()
    assert run(recorder, mill)["succeeded"] == 4
    assert recorder.said == ["start", GOOD]
    assert mill.calls == [[7, 8, 9]], "a seed that comes twice is computed once"


@pytest.mark.parametrize("verdict", [Verdict.CANCELED, Verdict.EXPIRED, Verdict.DONE])
def test_a_chunk_nobody_wants_any_more_is_not_run(verdict: Verdict) -> None:
    recorder, mill = FakeRecorder(Start(verdict)), FakeMill()
    assert run(recorder, mill) is None
    assert (recorder.said, mill.calls) == (["start", verdict], [])


def test_a_chunk_that_its_job_has_not_is_refused_and_nothing_is_recorded() -> None:
    recorder, mill = FakeRecorder(Start(Verdict.UNKNOWN)), FakeMill()
    with pytest.raises(InvalidMessage, match="chunk=2 with 4 seeds is none of job j"):
        run(recorder, mill)
    assert (recorder.said, mill.calls) == (["start"], [])


def test_a_redelivered_chunk_skips_what_is_published() -> None:
    recorder, mill = FakeRecorder(Start(Verdict.RUN, deliveries=2)), FakeMill(published=[7, 9])
    run(recorder, mill)
    assert (recorder.said[-1], mill.calls) == (GOOD, [[8]])


def test_seeds_that_are_known_to_be_published_skip_the_device_if_the_bucket_has_them() -> None:
    recorder, mill = FakeRecorder(Start(Verdict.RUN, known=frozenset({7, 8}))), FakeMill(published=[7])
    run(recorder, mill)
    assert mill.looks == [([7, 8], False)]
    assert mill.calls == [[8, 9]], "an index that is wrong costs a look"
    assert recorder.said[-1] == GOOD


@pytest.mark.parametrize("deliveries", [1, 2])
def test_by_force_everything_is_computed_also_when_it_is_delivered_again(deliveries: int) -> None:
    start = Start(Verdict.RUN, deliveries=deliveries, known=frozenset({7}), force=True)
    recorder, mill = FakeRecorder(start), FakeMill(published=[7, 8, 9])
    run(recorder, mill)
    assert mill.calls == [[7, 8, 9]]
    assert recorder.said[-1] == GOOD


def test_what_was_done_is_joined_until_it_is_recorded_and_no_more() -> None:
    flight = InFlight()

    def is_new() -> bool:
        joined = flight.join([7], Order().want(1), 0)
        for work in joined.work:
            work.end(succeed(7))
            work.release()
        return bool(joined.new)

    class Mill(FakeMill):
        def process(self, seeds: Sequence[int], order: Order) -> list[Outcome]:
            outcomes = super().process(seeds, order)
            order.hold(flight.join([7], order.want(1), 0).work)
            assert not is_new()
            return outcomes

    class Recorder(FakeRecorder):
        def finish(self, *arguments: Any) -> dict[str, Any]:
            assert is_new()
            return super().finish(*arguments)

    assert run(Recorder(Start(Verdict.RUN)), Mill())["succeeded"] == 4


def test_while_it_cannot_be_told_what_is_published_nothing_is_computed() -> None:
    recorder, mill = FakeRecorder(Start(Verdict.RUN, deliveries=2)), FakeMill(outcomes={8: GivenBack("away")})
    with pytest.raises(GivenBack):
        run(recorder, mill)
    assert mill.calls == []


@pytest.mark.parametrize(("failures", "goes_back"), [(0, True), (MAX_ATTEMPTS - 1, False)])
def test_a_seed_that_can_never_be_looked_for_is_computed_at_the_last_attempt(failures: int, goes_back: bool) -> None:
    recorder = FakeRecorder(Start(Verdict.RUN, failures=failures, deliveries=2))
    mill = FakeMill(published=[7, 9])
    mill.outcomes[8] = GivenBack("odd", counts=True)
    mill.process = lambda seeds, order: mill.calls.append(list(seeds)) or [succeed(8)]  # type: ignore[method-assign, func-returns-value]
    if goes_back:
        with pytest.raises(GivenBack):
            run(recorder, mill)
    else:
        run(recorder, mill)
        assert (recorder.said[-1], mill.calls) == (GOOD, [[8]])


def test_a_suspect_is_asked_for_again_alone_and_run_seed_by_seed() -> None:
    recorder = FakeRecorder(Start(Verdict.SUSPECT), Start(Verdict.RUN, deaths=1, deliveries=2))
    mill = FakeMill(published=[7])
    run(recorder, mill)
    assert recorder.said == ["start", "start alone", "begins 8", "begins 9", GOOD]
    assert mill.calls == [[8], [9]]


def stopped(seed: int, died: int, **more: Any) -> FakeRecorder:
    """Return a recorder of a chunk whose worker died at a seed."""
    start = Start(Verdict.RUN, deaths=3, deliveries=4, stopped_at=seed, died=died, **more)
    return FakeRecorder(Start(Verdict.SUSPECT), start)


def test_a_seed_that_workers_died_at_twice_in_a_row_fails_and_the_others_are_run() -> None:
    recorder, mill = stopped(8, 2), FakeMill(published=[7])
    run(recorder, mill)
    result = [(7, "succeeded"), (8, "failed"), (9, "succeeded"), (7, "succeeded")]
    assert recorder.said[2:] == ["condemned 8", "begins 9", result]
    assert mill.calls == [[9]]
    assert recorder.results[1].error is not None
    assert recorder.results[1].error["type"] == "SeedKillsWorker"


@pytest.mark.parametrize(("published", "died"), [([7], 1), ([7, 8], 2)])
def test_a_seed_that_a_worker_died_at_once_or_that_is_published_is_not_blamed(published: list[int], died: int) -> None:
    recorder = stopped(8, died)
    run(recorder, FakeMill(published=published))
    assert recorder.said[-1] == GOOD


def test_a_seed_after_the_one_that_workers_died_at_is_not_blamed() -> None:
    recorder = stopped(7, 2)
    run(recorder, FakeMill(published=[7]))
    assert recorder.said[2:] == ["begins 8", "begins 9", GOOD]


def test_the_seed_that_a_worker_died_at_is_the_first_to_be_tried() -> None:
    """Otherwise seeds before it that fail, and so are never published, would keep two deaths from coming in a row."""
    recorder = stopped(9, 1)
    run(recorder, FakeMill())
    assert recorder.said[2:] == ["begins 9", "begins 7", "begins 8", GOOD]


def test_condemned_seeds_stay_so_and_a_second_culprit_is_found_after_the_first() -> None:
    recorder, mill = stopped(8, 2, condemned=frozenset({7})), FakeMill()
    run(recorder, mill)
    assert recorder.said[2] == "condemned 8"
    assert mill.calls == [[9]]


@pytest.mark.parametrize(
    ("counts", "failures", "back"),
    [(True, 0, True), (True, MAX_ATTEMPTS - 2, True), (True, MAX_ATTEMPTS - 1, False), (False, 9, True)],
)
def test_what_is_to_be_tried_again_goes_back_while_there_are_attempts_left(
    counts: bool, failures: int, back: bool
) -> None:
    reason = GivenBack("memory", counts=counts)
    reason.__cause__ = MemoryError("no more")
    start = Start(Verdict.RUN, deaths=5, failures=failures)
    recorder, mill = FakeRecorder(start), FakeMill(outcomes={8: reason})
    if back:
        with pytest.raises(GivenBack):
            run(recorder, mill)
        assert recorder.said == ["start"]
    else:
        run(recorder, mill)
        assert recorder.results[1].error == {"type": "MemoryError", "message": "no more"}


@pytest.mark.parametrize("failures", [0, MAX_ATTEMPTS - 1])
def test_an_error_that_is_no_seeds_fails_the_chunk_at_its_last_attempt_only(failures: int) -> None:
    recorder, mill = FakeRecorder(Start(Verdict.RUN, deaths=5, failures=failures)), FakeMill()

    def escape(seeds: Sequence[int], order: Order) -> list[Outcome]:
        raise LookupError("a bug")

    mill.process = escape  # type: ignore[method-assign]
    if failures < MAX_ATTEMPTS - 1:
        with pytest.raises(LookupError):
            run(recorder, mill)
    else:
        assert run(recorder, mill)["failed"] == 4
        assert recorder.results[0].error == {"type": "LookupError", "message": "a bug"}


def test_of_a_canceled_chunk_only_what_had_ended_is_recorded() -> None:
    recorder = FakeRecorder(Start(Verdict.RUN))
    mill = FakeMill()
    mill.process = lambda seeds, order: [succeed(7), None, None]  # type: ignore[method-assign]
    assert run(recorder, mill)["succeeded"] == 2
    assert recorder.said[-1] == [(7, "succeeded"), (7, "succeeded")]


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


def test_a_suspect_waits_until_it_is_alone_and_nobody_enters_meanwhile(gate: Gate) -> None:
    events: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def chunk() -> None:
        with gate.together():
            inside.set()
            leave.wait(10)
            events.append("together ends")

    def suspect() -> None:
        with gate.alone():
            events.append("alone")

    def late() -> None:
        with gate.together():
            events.append("late")

    threads = [threading.Thread(target=call) for call in (chunk, suspect, late)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    while not gate._waiting:
        pass
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert events == ["together ends", "alone", "late"]


def test_a_closed_gate_sends_those_who_wait_back(gate: Gate) -> None:
    caught: list[GivenBack] = []

    def suspect() -> None:
        try:
            with gate.alone():
                pass
        except GivenBack as error:
            caught.append(error)

    with gate.together():
        thread = threading.Thread(target=suspect)
        thread.start()
        while not gate._waiting:
            pass
        gate.close()
        thread.join(10)
    assert len(caught) == 1
    with pytest.raises(GivenBack), gate.together():
        pass


def test_canceling_a_job_lets_go_of_its_orders_alone() -> None:
    running, stack = Running(), ExitStack()
    deliveries = [Delivery(ChunkMessage("t", job, 0, (1,), Priority.BULK)) for job in "aab"]
    first, second, other = (stack.enter_context(running.order(delivery)) for delivery in deliveries)
    with stack:
        assert running.jobs() == ["a", "b"]
        running.cancel("a")
        assert (first.wanted, second.wanted, other.wanted) == (False, False, True)
        assert [future.result(0) for future in first.want(2)] == [None, None]
        assert (other.job, other.urgency) == ("b", Priority.BULK.number)
    assert running.jobs() == []


@pytest.mark.parametrize("verdict", [Verdict.CANCELED, Verdict.EXPIRED])
def test_a_message_that_was_revoked_or_has_expired_is_dropped_if_nobody_has_begun_with_it(verdict: Verdict) -> None:
    recorder: Any = FakeRecorder()
    recorder.begun = False
    mill: Any = FakeMill()
    delivery = Delivery(DELIVERY.message, "1.0", adopt=True, unwanted=verdict)
    assert ChunkRunner(mill, recorder, Gate(), Running()).run(delivery) is None
    assert (recorder.said, mill.calls) == ([verdict], [])


def test_a_message_that_was_begun_is_cancelled_if_it_was_revoked_and_runs_on_if_it_has_expired() -> None:
    revoked: Any = FakeRecorder(Start(Verdict.CANCELED))
    expired: Any = FakeRecorder(Start(Verdict.RUN))
    mill: Any = FakeMill()
    for recorder, verdict in ((revoked, Verdict.CANCELED), (expired, Verdict.EXPIRED)):
        delivery = Delivery(DELIVERY.message, "1.0", adopt=True, unwanted=verdict)
        ChunkRunner(mill, recorder, Gate(), Running()).run(delivery)
    assert revoked.said == [f"canceled {DELIVERY.message.job_id}", "start", Verdict.CANCELED]
    assert expired.said[0] == "start"
    assert mill.calls == [[7, 8, 9]]
