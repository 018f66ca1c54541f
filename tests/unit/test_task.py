"""What the task does with a message, without Celery and without servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject

from producer.contract import MAX_CHUNK_SIZE, TASK_NAME, ChunkMessage, SeedResult, SeedStatus, chunk_result
from producer.errors import InvalidSeed, QueueUnreachable
from producer.records import Verdict
from worker.errors import GivenBack, InvalidMessage
from worker.results import Recorder
from worker.task import give_back, read_message, register, run_chunk

MESSAGE = ChunkMessage("t", "j", 2, (7, 8))


class FakeRecorder(Recorder):
    """Remembers what it was told."""

    def __init__(self, verdict: Verdict = Verdict.RUN) -> None:
        self.verdict = verdict
        self.said: list[Any] = []

    def start(self, message: ChunkMessage, *, adopt: bool) -> Verdict:
        self.said.append(("start", adopt))
        return self.verdict

    def finish(self, message: ChunkMessage, results: Sequence[SeedResult]) -> dict[str, Any]:
        self.said.append(("finish", [(result.seed, result.status) for result in results]))
        return chunk_result(message, results)

    def drop(self, message: ChunkMessage, verdict: Verdict) -> None:
        self.said.append(("drop", verdict))

    def give_back(self, message: ChunkMessage) -> None:
        self.said.append(("give back", message.task_id))


def succeed(seeds: Sequence[int]) -> list[SeedResult]:
    return [SeedResult(seed, SeedStatus.SUCCEEDED) for seed in seeds]


def never(seeds: Sequence[int]) -> list[SeedResult]:
    pytest.fail(f"{seeds} were generated")


def test_a_message_of_ours_is_read() -> None:
    assert read_message("t", [7, 8], "j", 2) == MESSAGE


@pytest.mark.parametrize("seeds", [7, [7]])
def test_a_message_of_another_app_is_a_job_of_its_own(seeds: Any) -> None:
    assert read_message("t", seeds, None, 0) == ChunkMessage("t", "t", 0, (7,))


@pytest.mark.parametrize("seeds", [-1, [1, -1], [], None, "7", [True], [1.0], {"a": 1}, [[1]]])
def test_seeds_that_are_none_are_refused(seeds: Any) -> None:
    with pytest.raises(InvalidSeed):
        read_message("t", seeds, None, 0)


@pytest.mark.parametrize(
    ("job_id", "chunk"), [(5, 0), (["j"], 0), ("j", -1), ("j", "0"), ("j", True), ("j", None), (None, 1)]
)
def test_other_arguments_of_the_wrong_kind_are_refused(job_id: Any, chunk: Any) -> None:
    with pytest.raises(InvalidMessage):
        read_message("t", [1], job_id, chunk)


def test_a_message_of_too_many_seeds_is_refused_with_the_limit() -> None:
    with pytest.raises(InvalidMessage, match=str(MAX_CHUNK_SIZE)):
        read_message("t", list(range(MAX_CHUNK_SIZE + 1)), None, 0)


def test_a_chunk_is_recorded_before_and_after() -> None:
    recorder = FakeRecorder()
    value = run_chunk(MESSAGE, succeed, recorder, adopt=False)
    fates = [(7, SeedStatus.SUCCEEDED), (8, SeedStatus.SUCCEEDED)]
    assert recorder.said == [("start", False), ("finish", fates)]
    assert value is not None
    assert value["succeeded"] == 2


@pytest.mark.parametrize("verdict", [Verdict.CANCELED, Verdict.EXPIRED])
def test_a_chunk_nobody_wants_any_more_is_dropped_with_the_reason(verdict: Verdict) -> None:
    recorder = FakeRecorder(verdict)
    assert run_chunk(MESSAGE, never, recorder, adopt=False) is None
    assert recorder.said[1:] == [("drop", verdict)]


def test_a_chunk_that_was_done_before_is_left_alone() -> None:
    recorder = FakeRecorder(Verdict.DONE)
    assert run_chunk(MESSAGE, never, recorder, adopt=False) is None
    assert recorder.said == [("start", False)]


def test_a_chunk_goes_back_to_the_queue_when_redis_stays_away() -> None:
    class Away(FakeRecorder):
        def finish(self, message: ChunkMessage, results: Sequence[SeedResult]) -> dict[str, Any]:
            raise QueueUnreachable("away")

    app = Celery(set_as_current=False)
    register(app, succeed, Away())
    task: Any = app.tasks[TASK_NAME]
    task.push_request(id="t")
    with pytest.raises(Reject) as caught:
        task.run([1])
    assert caught.value.requeue


def test_unfinished_work_goes_back_to_the_queue_and_is_noted() -> None:
    def process(seeds: Sequence[int]) -> list[SeedResult]:
        raise GivenBack("stopping")

    recorder = FakeRecorder()
    app = Celery(set_as_current=False)
    register(app, process, recorder)
    task: Any = app.tasks[TASK_NAME]
    task.push_request(id="t")
    with pytest.raises(Reject) as caught:
        task.run([1])
    assert caught.value.requeue
    assert recorder.said == [("start", True), ("give back", "t")]


def test_work_goes_back_even_if_that_cannot_be_noted() -> None:
    class Away(FakeRecorder):
        def give_back(self, message: ChunkMessage) -> None:
            raise QueueUnreachable("away")

    give_back(MESSAGE, Away(), GivenBack("stopping"))


def test_an_error_outside_the_seeds_fails_every_seed_with_the_reason() -> None:
    def explode(seeds: Sequence[int]) -> list[SeedResult]:
        raise MemoryError("no more")

    recorder = FakeRecorder()
    value = run_chunk(MESSAGE, explode, recorder, adopt=False)
    assert recorder.said[1] == ("finish", [(7, SeedStatus.FAILED), (8, SeedStatus.FAILED)])
    assert value is not None
    assert value["seeds"][0]["error"] == {"type": "MemoryError", "message": "no more"}
