"""The stages of a seed, their order, and one outcome per seed whatever happens."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from producer.contract import SeedStatus, image_key, metadata_key
from producer.message import SeedResult
from tests.unit.fakes import MODEL, FakeModel, FakeStore
from worker.errors import GivenBack, OutOfDeviceMemory, StorageSilent, StorageUnreachable
from worker.model.generated import Generated
from worker.order import Order
from worker.pipeline import HANDOVER_BATCHES, Pipeline
from worker.publish import Publisher

Make = Callable[..., Pipeline]


def build(model: FakeModel, store: FakeStore, *, max_batch: int = 4, patience_s: float = 0) -> Pipeline:
    return Pipeline(model, Publisher(store, MODEL, patience_s=patience_s), max_batch=max_batch, upload_threads=2)


def results_of(pipeline: Pipeline, seeds: Sequence[int]) -> list[SeedResult]:
    """Process seeds that all have to end with a result."""
    outcomes = pipeline.process(seeds, Order())
    results = [outcome for outcome in outcomes if isinstance(outcome, SeedResult)]
    assert len(results) == len(seeds), outcomes
    return results


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Pipeline] = []

    def started(model: FakeModel, store: FakeStore, *, max_batch: int = 4, patience_s: float = 0) -> Pipeline:
        made.append(build(model, store, max_batch=max_batch, patience_s=patience_s))
        made[-1].start()
        return made[-1]

    yield started
    for pipeline in made:
        pipeline.close()


def test_every_seed_gets_its_outcome_in_order(make: Make) -> None:
    results = results_of(make(FakeModel(), FakeStore()), [9, 3, 9, 7, 5])
    assert [result.seed for result in results] == [9, 3, 9, 7, 5]
    assert {result.status for result in results} == {SeedStatus.SUCCEEDED}
    assert [result.caption for result in results][:2] == ["caption of 9", "caption of 3"]


def test_the_picture_is_written_before_the_metadata_that_commits_it(make: Make) -> None:
    store = FakeStore()
    results_of(make(FakeModel(), store), [7])
    image, metadata = store.objects
    assert (image, metadata) == (f"{MODEL.id}/seed_0000000007.png", f"{MODEL.id}/seed_0000000007.json")


def test_the_result_names_what_was_written(make: Make) -> None:
    store = FakeStore()
    (result,) = results_of(make(FakeModel(), store), [7])
    png, metadata = store.objects.values()
    assert result.sha256 == hashlib.sha256(png).hexdigest() == json.loads(metadata)["image"]["sha256"]
    assert result.bytes == len(png)
    assert (result.width, result.height, result.model_id) == (16, 16, MODEL.id)
    assert result.image_uri == f"s3://fake/{MODEL.id}/seed_0000000007.png"
    assert result.metadata_uri == f"s3://fake/{MODEL.id}/seed_0000000007.json"
    stages = {"queue_ms", "generate_ms", "encode_ms", "put_image_ms", "put_metadata_ms", "total_ms"}
    assert set(result.timings) == stages


def test_a_picture_that_cannot_be_written_leaves_no_metadata(make: Make) -> None:
    store = FakeStore(refuse=".png")
    (result,) = results_of(make(FakeModel(), store), [7])
    assert result.status is SeedStatus.FAILED
    assert result.error == {"type": "StorageError", "message": f"refused {MODEL.id}/seed_0000000007.png"}
    assert store.objects == {}


def test_one_bad_seed_fails_alone(make: Make) -> None:
    results = results_of(make(FakeModel(bad=[5]), FakeStore(), max_batch=8), range(8))
    failed = [result for result in results if result.status is SeedStatus.FAILED]
    assert [(result.seed, result.error) for result in failed] == [
        (5, {"type": "ValueError", "message": "cannot draw [5]"})
    ]


@pytest.mark.parametrize("bad", [[0], [63], [0, 63], [1, 2, 3], list(range(0, 64, 9))])
def test_finding_the_culprits_costs_few_extra_calls(make: Make, bad: list[int]) -> None:
    model = FakeModel(bad)
    gate = threading.Event()
    wait, model.generate = model.generate, lambda *batch: (gate.wait() and wait(*batch)) or []  # type: ignore[method-assign]
    pipeline = make(model, FakeStore(), max_batch=64)
    gate.set()
    results = results_of(pipeline, range(64))
    assert [result.seed for result in results if result.status is SeedStatus.FAILED] == bad
    assert len(model.batches) <= 1 + 2 * len(bad) * math.log2(64)


def test_a_model_that_loses_count_fails_its_seeds_and_not_the_worker(make: Make) -> None:
    class Short(FakeModel):
        def generate(self, seeds: object, latents: object, free: object) -> list[Generated]:
            return []

    model = Short()
    pipeline = make(model, FakeStore())
    for result in results_of(pipeline, [1, 2]):
        assert result.status is SeedStatus.FAILED
        assert "0 results for 1 seeds" in str(result.error)


def test_all_threads_run_before_the_first_picture(make: Make) -> None:
    def uploading() -> int:
        return sum(thread.name.startswith("upload") for thread in threading.enumerate())

    before = uploading()
    pipeline = make(FakeModel(), FakeStore())
    assert uploading() == before + 2
    results_of(pipeline, range(50))
    assert uploading() == before + 2


def test_a_slow_store_stops_the_device_and_not_the_memory(make: Make) -> None:
    model, store = FakeModel(), FakeStore()
    store.opened.clear()
    pipeline = make(model, store, max_batch=2)
    thread = threading.Thread(target=pipeline.process, args=(range(100), Order()))
    thread.start()
    while sum(map(len, model.batches)) < HANDOVER_BATCHES * 2:
        time.sleep(0.01)
    time.sleep(0.2)
    assert sum(map(len, model.batches)) <= (HANDOVER_BATCHES + 1) * 2
    store.opened.set()
    thread.join(timeout=20)
    assert len(store.objects) == 200


class Away(FakeStore):
    """A store that does not answer until it is back."""

    def __init__(self) -> None:
        super().__init__()
        self.back = threading.Event()
        self.refused = threading.Semaphore(0)

    def put(self, key: str, data: bytes, content_type: str, *, sha256: str = "") -> None:
        if not self.back.is_set():
            self.refused.release()
            raise StorageUnreachable("away")
        super().put(key, data, content_type, sha256=sha256)


def test_a_store_that_is_away_is_waited_for_and_nothing_is_generated_twice(make: Make) -> None:
    model, store = FakeModel(), Away()
    pipeline = make(model, store, patience_s=30)
    threading.Timer(0.5, store.back.set).start()
    results = results_of(pipeline, range(6))
    assert {result.status for result in results} == {SeedStatus.SUCCEEDED}
    assert sorted(seed for batch in model.batches for seed in batch) == list(range(6))


def test_after_some_patience_with_a_store_the_seed_is_to_be_tried_again(make: Make) -> None:
    (outcome,) = make(FakeModel(), Away()).process([1], Order())
    assert isinstance(outcome, GivenBack)
    assert not outcome.counts


def test_when_the_store_answers_nobody_everything_goes_back_after_one_patience(make: Make) -> None:
    store = Away()
    pipeline = make(FakeModel(), store, patience_s=0.5)
    with ThreadPoolExecutor(2) as pool:
        started = time.monotonic()
        orders = [pool.submit(pipeline.process, range(first, first + 20), Order()) for first in (0, 20)]
        outcomes = [outcome for order in orders for outcome in order.result(30)]
    assert time.monotonic() - started < 3, "not as often as the threads have seeds"
    assert all(isinstance(outcome, StorageSilent) and not outcome.counts for outcome in outcomes)
    store.back.set()
    assert results_of(pipeline, [1])[0].status is SeedStatus.SUCCEEDED, "it goes on"


def test_one_object_that_the_store_keeps_refusing_goes_back_alone(make: Make) -> None:
    class Partly(FakeStore):
        def put(self, key: str, data: bytes, content_type: str, *, sha256: str = "") -> None:
            if key == image_key(MODEL.id, 3):
                raise StorageUnreachable("slow down")
            super().put(key, data, content_type, sha256=sha256)

    store = Partly()
    outcomes = make(FakeModel(), store, patience_s=0.3).process(range(6), Order())
    others = {key for key in store.objects if "seed_" not in key}
    assert others == {f"{MODEL.id}/probe"}, "what it was asked with has one place"
    assert len(store.objects) == 10 + len(others)
    assert isinstance(outcomes[3], GivenBack)
    assert outcomes[3].counts, "the store has answered others"
    assert [seed for seed, outcome in enumerate(outcomes) if isinstance(outcome, SeedResult)] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("others", [True, False])
def test_an_object_that_cannot_be_read_counts_only_if_others_can(make: Make, others: bool) -> None:
    class Partly(FakeStore):
        def get(self, key: str) -> bytes:
            if not others or key == metadata_key(MODEL.id, 3):
                raise StorageUnreachable("in trouble")
            return super().get(key)

    (outcome,) = make(FakeModel(), Partly()).find([3], Order())
    assert isinstance(outcome, GivenBack)
    assert (outcome.counts, isinstance(outcome, StorageSilent)) == (others, not others)


def test_a_refusal_of_the_store_is_not_waited_for(make: Make) -> None:
    (result,) = results_of(make(FakeModel(), FakeStore(refuse="png"), patience_s=600), [1])
    assert result.status is SeedStatus.FAILED


def test_a_worker_that_stops_gives_back_what_waits_for_the_store(make: Make) -> None:
    store = Away()
    pipeline = make(FakeModel(), store, patience_s=600)

    def stop() -> None:
        store.refused.acquire()
        pipeline.stop_waiting()

    threading.Thread(target=stop).start()
    assert all(isinstance(outcome, GivenBack) for outcome in pipeline.process([1, 2], Order()))


@pytest.mark.parametrize("error", [MemoryError("no more"), OutOfDeviceMemory("does not fit")])
def test_a_seed_for_which_memory_does_not_suffice_is_to_be_tried_again_and_that_counts(
    make: Make, error: Exception
) -> None:
    class Full(FakeModel):
        def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
            raise error

    (outcome,) = make(Full(), FakeStore()).process([1], Order())
    assert isinstance(outcome, GivenBack)
    assert outcome.counts
    assert outcome.__cause__ is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_no_model_should_raise_fails_the_seed_and_not_the_device_thread(make: Make, error: BaseException) -> None:
    class Leaves(FakeModel):
        def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
            if 5 in seeds:
                raise error
            return super().generate(seeds, latents, free)

    pipeline = make(Leaves(), FakeStore())
    assert [result.status for result in results_of(pipeline, [5, 6])] == ["failed", "succeeded"]
    assert [result.status for result in results_of(pipeline, [7])] == ["succeeded"]


class Untellable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_that_cannot_be_told_ends_its_seed_all_the_same(make: Make) -> None:
    class Odd(FakeModel):
        def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
            raise Untellable

    pipeline = make(Odd(), FakeStore())
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            (outcome,) = pool.submit(pipeline.process, [1], Order()).result(10)
            assert isinstance(outcome, GivenBack)
            assert outcome.counts


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), RuntimeError("can't start new thread"), Untellable()])
def test_what_escapes_a_batch_costs_an_attempt_and_not_the_device_thread(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def escape(*_: object) -> list[Generated]:
        raise error

    pipeline = make(FakeModel(), FakeStore())
    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr("worker.pipeline.generate_each", escape)
            outcomes = pool.submit(pipeline.process, [1, 2], Order()).result(10)
        assert all(isinstance(outcome, GivenBack) and outcome.counts for outcome in outcomes)
        assert len(pool.submit(results_of, pipeline, [1, 2]).result(10)) == 2


def test_a_closed_pipeline_gives_back_what_comes_late() -> None:
    pipeline = build(FakeModel(), FakeStore())
    pipeline.start()
    pipeline.close()
    with pytest.raises(GivenBack):
        pipeline.process([1], Order())


class Slow(FakeModel):
    """A model whose batches end when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
        self.begun.set()
        self.go_on.wait(20)
        return super().generate(seeds, latents, free)


def test_a_canceled_order_ends_at_once_even_amid_its_batch_and_publishes_nothing(make: Make) -> None:
    model, store, order = Slow(), FakeStore(), Order()
    pipeline = make(model, store, max_batch=2)
    pool = ThreadPoolExecutor(1)
    future = pool.submit(pipeline.process, range(6), order)
    model.begun.wait(20)
    order.cancel()
    assert future.result(5) == [None] * 6
    model.go_on.set()
    assert pipeline.close()
    assert store.objects == {}
    assert model.batches == [[0, 1]], "what waited is never computed"
    pool.shutdown()


def test_work_can_be_given_back_while_the_device_hangs(make: Make) -> None:
    model = Slow()
    pipeline = make(model, FakeStore())
    pool = ThreadPoolExecutor(1)
    future = pool.submit(pipeline.process, [1, 2], Order())
    model.begun.wait(20)
    time.sleep(0.05)
    assert pipeline.device_busy_s > 0
    pipeline.give_back(GivenBack("stopping"))
    assert all(isinstance(outcome, GivenBack) for outcome in future.result(5))
    assert not pipeline.close(0.1), "it says that the device did not end"
    model.go_on.set()
    pool.shutdown()


def test_the_device_is_given_the_next_batch_when_it_says_that_it_is_free(make: Make) -> None:
    class Overlapping(Slow):
        """Frees the device of its first batch, which then goes on."""

        def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
            free()
            if 0 in seeds:
                return super().generate(seeds, latents, free)
            return FakeModel.generate(self, seeds, latents, free)

    model = Overlapping()
    pipeline = make(model, FakeStore(), max_batch=2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(pipeline.process, [0, 1], Order())
        assert model.begun.wait(20)
        results_of(pipeline, [2, 3])
        assert not first.done()
        assert pipeline.device_busy_s > 0, "the batch that began first is at work yet"
        model.go_on.set()
        assert all(isinstance(outcome, SeedResult) for outcome in first.result(20))
    assert model.batches == [[2, 3], [0, 1]]


def test_the_parts_of_a_batch_that_failed_keep_the_device(make: Make) -> None:
    class Frees(FakeModel):
        """Frees the device in each call, and remembers what was under way together."""

        def __init__(self) -> None:
            super().__init__([2])
            self.under_way: set[int] = set()
            self.together: set[int] = set()

        def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
            self.under_way.add(seeds[0])
            if len(seeds) < 4:
                free()
            time.sleep(0.02)
            self.together.update(self.under_way if len(self.under_way) > 1 else ())
            try:
                return super().generate(seeds, latents, free)
            finally:
                self.under_way.remove(seeds[0])

    model = Frees()
    results = results_of(make(model, FakeStore(), max_batch=4), range(8))
    assert [result.seed for result in results if result.status == "failed"] == [2]
    assert len(model.batches) > 3
    assert model.together == set()


def test_the_device_is_busy_since_the_last_call_of_the_model(make: Make) -> None:
    class Watched(FakeModel):
        """Fails, slowly, and looks at how long it has been at work."""

        seen = 0.0

        def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
            self.seen = max(self.seen, pipeline.device_busy_s)
            time.sleep(0.05)
            return super().generate(seeds, latents, free)

    model = Watched(range(8))
    pipeline = make(model, FakeStore(), max_batch=8)
    results_of(pipeline, range(8))
    assert len(model.batches) == 15
    assert model.seen < 0.05
    assert pipeline.device_busy_s == 0


def test_published_seeds_are_found_whole_and_torn_ones_are_not(make: Make) -> None:
    store = FakeStore()
    pipeline = make(FakeModel(), store)
    written = results_of(pipeline, range(6))
    store.objects[image_key(MODEL.id, 1)] = store.objects[image_key(MODEL.id, 1)][:-5]
    store.objects[metadata_key(MODEL.id, 2)] = store.objects[metadata_key(MODEL.id, 2)][:40]
    store.objects[metadata_key(MODEL.id, 3)] = b"[" * 100_000
    del store.objects[image_key(MODEL.id, 4)]
    found = pipeline.find(range(7), Order())
    assert found[1:5] == [None] * 4
    assert found[6] is None
    for outcome, result in ((found[0], written[0]), (found[5], written[5])):
        assert isinstance(outcome, SeedResult)
        assert replace(outcome, timings={}, cached=False) == replace(result, timings={})
        assert outcome.cached


def test_what_is_published_cannot_be_told_while_the_store_is_away(make: Make) -> None:
    class Unreadable(FakeStore):
        def get(self, key: str) -> bytes:
            raise StorageUnreachable("away")

    assert all(isinstance(outcome, GivenBack) for outcome in make(FakeModel(), Unreadable()).find([1, 2], Order()))


def test_closing_finishes_what_is_inside() -> None:
    store = FakeStore()
    pipeline = build(FakeModel(), store, max_batch=2)
    thread = threading.Thread(target=pipeline.process, args=(range(20), Order()))
    thread.start()
    while not len(pipeline._batcher):
        time.sleep(0.001)
    pipeline.start()
    assert pipeline.close()
    thread.join(timeout=20)
    assert len(store.objects) == 40
