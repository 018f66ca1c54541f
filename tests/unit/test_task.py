"""What the task does with a message, without Celery's worker and without servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery
from celery.worker import state

from producer.attempts import Verdict
from producer.contract import MAX_CHUNK_SIZE, TASK_NAME, Priority, SeedStatus
from producer.errors import InvalidSeed, QueueRefused, QueueUnreachable
from producer.message import ChunkMessage, SeedResult, chunk_result
from worker import task
from worker.errors import GivenBack, InvalidMessage
from worker.monitoring.report import Report, begin, noted
from worker.queue.burial import Burial
from worker.running import Running
from worker.task import Handler, Received, read_delivery, register, why_unwanted

MESSAGE = ChunkMessage("j.2", "j", 2, (7, 8))
OURS = {"seeds": [7, 8], "job_id": "j", "chunk": 2}
VALUE = chunk_result(MESSAGE, [SeedResult(seed, SeedStatus.SUCCEEDED) for seed in (7, 8)])


class FakeLedger:
    """Remembers what became of messages."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def settled(self, tag: str) -> None:
        self.said.append(("settled", tag))

    def give_back(self, tag: str) -> None:
        self.said.append(("given back", tag))

    def bury(self, burials: Sequence[Burial]) -> None:
        self.said += [("buried", burial) for burial in burials]


class FakeRecorder:
    """Remembers what was noted."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.noted: list[bool] = []
        self.running = Running()

    def give_back(self, delivery: object, *, counts: bool) -> None:
        assert self.running.deliveries() == [delivery], "a second signal would find it"
        if self.error:
            raise self.error
        self.noted.append(counts)


class FakeRunner:
    """Runs a chunk to a result or an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.ran: list[Any] = []

    def run(self, delivery: object) -> dict[str, Any]:
        self.ran.append(delivery)
        if self.error:
            raise self.error
        return VALUE


class Bench:
    def __init__(self, error: BaseException | None = None, recorder_error: Exception | None = None) -> None:
        self.runner, self.recorder, self.ledger = FakeRunner(error), FakeRecorder(recorder_error), FakeLedger()
        self.running = self.recorder.running
        parts: Any = (self.runner, self.recorder, self.ledger, self.running)
        self.handler = Handler(*parts)

    def handle(self, arguments: dict[str, Any] | None = None) -> Any:
        return self.handler.handle(Received("j.2", "1.0", 0, OURS if arguments is None else arguments))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "GIVE_BACK_PAUSE_S", 0)


def test_a_message_of_ours_is_read() -> None:
    delivery = read_delivery(Received("j.2", "1.0", 0, OURS))
    assert (delivery.message, delivery.tag, delivery.adopt) == (MESSAGE, "1.0", False)


@pytest.mark.parametrize(
    ("number", "priority"), [(0, "interactive"), (9, "bulk"), (None, "interactive"), ("x", "interactive")]
)
def test_the_priority_of_a_message_is_kept(number: object, priority: str) -> None:
    assert read_delivery(Received("j.2", "", number, OURS)).message.priority is Priority(priority)


@pytest.mark.parametrize("seeds", [7, [7]])
def test_a_message_of_another_app_is_a_job_of_its_own(seeds: Any) -> None:
    delivery = read_delivery(Received("t", "", None, {"seeds": seeds}))
    assert delivery.message == ChunkMessage("t", "t", 0, (7,))
    assert delivery.adopt


@pytest.mark.parametrize("seeds", [-1, [1, -1], [], None, "7", [True], [1.0], {"a": 1}, [[1]]])
def test_seeds_that_are_none_are_refused(seeds: Any) -> None:
    with pytest.raises(InvalidSeed):
        read_delivery(Received("t", "", None, {"seeds": seeds}))


@pytest.mark.parametrize(
    ("job_id", "chunk"), [(5, 0), (["j"], 0), ("j", -1), ("j", "0"), ("j", True), ("j", None), (None, 1)]
)
def test_other_arguments_of_the_wrong_kind_are_refused(job_id: Any, chunk: Any) -> None:
    with pytest.raises(InvalidMessage):
        read_delivery(Received("j", "", None, {"seeds": [1], "job_id": job_id, "chunk": chunk}))


@pytest.mark.parametrize("task_id", ["t", "j.1", "j.02", "J.2", "j2", ".2"])
def test_a_chunk_under_the_id_of_another_task_is_refused(task_id: str) -> None:
    with pytest.raises(InvalidMessage, match="leave job_id out"):
        read_delivery(Received(task_id, "", None, OURS))
    assert read_delivery(Received("j", "", None, {**OURS, "chunk": 0})).message.task_id == "j", (
        "of a job of one message"
    )


def test_a_message_of_too_many_seeds_is_refused_with_the_limit() -> None:
    with pytest.raises(InvalidMessage, match=str(MAX_CHUNK_SIZE)):
        read_delivery(Received("t", "", None, {"seeds": list(range(MAX_CHUNK_SIZE + 1))}))


def test_a_chunk_that_was_run_is_settled() -> None:
    bench = Bench()
    assert bench.handle() == VALUE
    assert bench.ledger.said == [("settled", "1.0")]
    assert noted() == Report.finished(VALUE)


def test_a_message_that_is_no_chunk_is_buried_with_the_reason() -> None:
    bench = Bench()
    assert bench.handle({"seeds": [1, -2]}) is None
    ((word, burial),) = bench.ledger.said
    assert word == "buried"
    assert (burial.tag, burial.task_id) == ("1.0", "j.2")
    assert "-2 is not a seed" in burial.letter.reason
    assert '"FAILURE"' in burial.celery_result
    assert noted() == Report.refused(InvalidSeed("-2 is not a seed: a seed is a whole number from 0 to 4294967295"))
    assert bench.runner.ran == []


def test_a_chunk_that_its_job_has_not_is_buried_and_no_result_is_touched() -> None:
    bench = Bench(InvalidMessage("none of job j"))
    assert bench.handle() is None
    ((word, burial),) = bench.ledger.said
    assert (word, burial.tag, burial.task_id) == ("buried", "1.0", "")


def test_unfinished_work_goes_back_and_is_noted_before() -> None:
    bench = Bench(GivenBack("stopping"))
    begin(lambda report: bench.ledger.said.append(("told", report)))
    assert bench.handle() is None
    begin(None)
    assert bench.recorder.noted == [False]
    told = ("told", Report.given_back(GivenBack("stopping")))
    assert bench.ledger.said == [told, ("given back", "1.0")], "told before another worker can have it"
    assert bench.running.deliveries() == []


def test_work_goes_back_even_if_that_cannot_be_noted() -> None:
    bench = Bench(GivenBack("stopping"), QueueUnreachable("away"))
    bench.handle()
    assert bench.ledger.said == [("given back", "1.0")]


@pytest.mark.parametrize("error", [QueueUnreachable("away"), QueueRefused("WRONGTYPE")])
def test_a_chunk_that_redis_keeps_from_its_end_loses_no_attempt(error: Exception) -> None:
    bench = Bench(error)
    bench.handle()
    assert bench.recorder.noted == [False]
    assert bench.ledger.said == [("given back", "1.0")]


@pytest.mark.parametrize("error", [RuntimeError("bug"), MemoryError(), SystemExit(1), KeyboardInterrupt()])
def test_whatever_escapes_a_chunk_costs_an_attempt_and_not_the_message(error: BaseException) -> None:
    bench = Bench(error)
    assert bench.handle() is None
    assert bench.recorder.noted == [True]
    assert bench.ledger.said == [("given back", "1.0")]


@pytest.mark.parametrize(
    ("args", "kwargs", "wanted"),
    [
        ([[1]], {}, {"seeds": [1]}),
        ([], {"seeds": 1}, {"seeds": 1}),
        ([1, "j", 2], {}, {"seeds": 1, "job_id": "j", "chunk": 2}),
        ([1], {"size": 512}, {"seeds": 1, "size": 512}),
    ],
)
def test_arguments_may_be_given_by_place_or_by_name(
    args: list[Any], kwargs: dict[str, Any], wanted: dict[str, Any]
) -> None:
    seen: list[Any] = []
    app = Celery(set_as_current=False)
    register(app, seen.append)
    generate: Any = app.tasks[TASK_NAME]
    generate.push_request(id="t", properties={"delivery_tag": "1.0", "priority": 9})
    generate.run(*args, **kwargs)
    assert seen == [Received("t", "1.0", 9, wanted)]


@pytest.mark.parametrize(
    ("expires", "wanted"),
    [
        (None, None),
        ("2999-01-01T00:00:00", None),
        ("2999-01-01T00:00:00+09:00", None),
        ("2020-01-01T00:00:00", Verdict.EXPIRED),
        ("2020-01-01T00:00:00+00:00", Verdict.EXPIRED),
    ],
)
def test_a_message_that_has_expired_is_not_wanted(expires: str | None, wanted: Verdict | None) -> None:
    assert why_unwanted("t", expires) is wanted


def test_a_message_that_was_revoked_is_not_wanted_if_it_is_another_apps() -> None:
    state.revoked.add("revoked")
    try:
        unwanted = why_unwanted("revoked", None)
    finally:
        state.revoked.discard("revoked")
    assert unwanted is Verdict.CANCELED
    assert read_delivery(Received("revoked", "", None, {"seeds": 1}, unwanted=unwanted)).unwanted is Verdict.CANCELED
    assert read_delivery(Received("j.2", "", None, OURS, unwanted=unwanted)).unwanted is None, (
        "jobs have a record that says so"
    )


@pytest.mark.parametrize(("args", "kwargs"), [([1, "j", 0, 4], {}), ([1], {"seeds": 2})])
def test_too_many_arguments_are_refused_and_not_raised(args: list[Any], kwargs: dict[str, Any]) -> None:
    bench = Bench()
    app = Celery(set_as_current=False)
    register(app, bench.handler.handle)
    generate: Any = app.tasks[TASK_NAME]
    generate.push_request(id="t", properties={"delivery_tag": "1.0"})
    generate.run(*args, **kwargs)
    assert [word for word, _ in bench.ledger.said] == ["buried"]
