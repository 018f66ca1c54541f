"""The stages of a seed, their order, and one outcome per seed whatever happens."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from producer.contract import SeedStatus
from tests.unit.fakes import MODEL, FakeModel, FakeStore
from worker.errors import GivenBack, StorageUnreachable
from worker.model.engine import Generated
from worker.pipeline import HANDOVER_BATCHES, Pipeline

Make = Callable[..., Pipeline]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Pipeline] = []

    def build(model: FakeModel, store: FakeStore, *, max_batch: int = 4) -> Pipeline:
        made.append(Pipeline(model, store, max_batch=max_batch, upload_threads=2))
        made[-1].start()
        return made[-1]

    yield build
    for pipeline in made:
        pipeline.close()


def test_every_seed_gets_its_outcome_in_order(make: Make) -> None:
    results = make(FakeModel(), FakeStore()).process([9, 3, 9, 7, 5])
    assert [result.seed for result in results] == [9, 3, 9, 7, 5]
    assert {result.status for result in results} == {SeedStatus.SUCCEEDED}
    assert [result.caption for result in results][:2] == ["caption of 9", "caption of 3"]


def test_the_picture_is_written_before_the_metadata_that_commits_it(make: Make) -> None:
    store = FakeStore()
    make(FakeModel(), store).process([7])
    image, metadata = store.objects
    assert (image, metadata) == (f"{MODEL.id}/seed_0000000007.png", f"{MODEL.id}/seed_0000000007.json")


def test_the_result_names_what_was_written(make: Make) -> None:
    store = FakeStore()
    (result,) = make(FakeModel(), store).process([7])
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
    (result,) = make(FakeModel(), store).process([7])
    assert result.status is SeedStatus.FAILED
    assert result.error == {"type": "StorageError", "message": f"refused {MODEL.id}/seed_0000000007.png"}
    assert store.objects == {}


def test_one_bad_seed_fails_alone(make: Make) -> None:
    results = make(FakeModel(bad=[5]), FakeStore(), max_batch=8).process(range(8))
    failed = [result for result in results if result.status is SeedStatus.FAILED]
    assert [(result.seed, result.error) for result in failed] == [
        (5, {"type": "ValueError", "message": "cannot draw [5]"})
    ]


@pytest.mark.parametrize("bad", [[0], [63], [0, 63], [1, 2, 3], list(range(0, 64, 9))])
def test_finding_the_culprits_costs_few_extra_calls(make: Make, bad: list[int]) -> None:
    model = FakeModel(bad)
    gate = threading.Event()
    wait, model.generate = model.generate, lambda seeds: (gate.wait() and wait(seeds)) or []  # type: ignore[method-assign]
    pipeline = make(model, FakeStore(), max_batch=64)
    gate.set()
    results = pipeline.process(range(64))
    assert [result.seed for result in results if result.status is SeedStatus.FAILED] == bad
    assert len(model.batches) <= 1 + 2 * len(bad) * math.log2(64)


def test_a_model_that_loses_count_fails_its_seeds_and_not_the_worker(make: Make) -> None:
    class Short(FakeModel):
        def generate(self, seeds: object) -> list[Generated]:
            return []

    model = Short()
    pipeline = make(model, FakeStore())
    for result in pipeline.process([1, 2]):
        assert result.status is SeedStatus.FAILED
        assert "0 results for 1 seeds" in str(result.error)


def test_all_threads_run_before_the_first_picture(make: Make) -> None:
    def uploading() -> int:
        return sum(thread.name.startswith("upload") for thread in threading.enumerate())

    before = uploading()
    pipeline = make(FakeModel(), FakeStore())
    assert uploading() == before + 2
    pipeline.process(range(50))
    assert uploading() == before + 2


def test_a_slow_store_stops_the_device_and_not_the_memory(make: Make) -> None:
    model, store = FakeModel(), FakeStore()
    store.opened.clear()
    pipeline = make(model, store, max_batch=2)
    thread = threading.Thread(target=pipeline.process, args=(range(100),))
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

    def put(self, key: str, data: bytes, content_type: str) -> None:
        if not self.back.is_set():
            self.refused.release()
            raise StorageUnreachable("away")
        super().put(key, data, content_type)


def test_a_store_that_is_away_is_waited_for_and_nothing_is_generated_twice() -> None:
    model, store = FakeModel(), Away()
    pipeline = Pipeline(model, store, max_batch=4, upload_threads=2, patience_s=30)
    pipeline.start()
    threading.Timer(0.5, store.back.set).start()
    results = pipeline.process(range(6))
    pipeline.close()
    assert {result.status for result in results} == {SeedStatus.SUCCEEDED}
    assert sorted(seed for batch in model.batches for seed in batch) == list(range(6))


def test_patience_with_a_store_has_an_end() -> None:
    pipeline = Pipeline(FakeModel(), Away(), max_batch=4, upload_threads=2, patience_s=0)
    pipeline.start()
    (result,) = pipeline.process([1])
    pipeline.close()
    assert result.error == {"type": "StorageUnreachable", "message": "away"}


def test_a_refusal_of_the_store_is_not_waited_for(make: Make) -> None:
    pipeline = Pipeline(FakeModel(), FakeStore(refuse="png"), max_batch=4, upload_threads=2, patience_s=600)
    pipeline.start()
    (result,) = pipeline.process([1])
    pipeline.close()
    assert result.status is SeedStatus.FAILED


def test_a_worker_that_stops_gives_back_what_waits_for_the_store() -> None:
    store = Away()
    pipeline = Pipeline(FakeModel(), store, max_batch=4, upload_threads=2, patience_s=600)
    pipeline.start()

    def stop() -> None:
        store.refused.acquire()
        pipeline.stop_waiting()

    threading.Thread(target=stop).start()
    with pytest.raises(GivenBack):
        pipeline.process([1, 2])
    pipeline.close()


def test_closing_finishes_what_is_inside() -> None:
    store = FakeStore()
    pipeline = Pipeline(FakeModel(), store, max_batch=2, upload_threads=2)
    thread = threading.Thread(target=pipeline.process, args=(range(20),))
    thread.start()
    while not pipeline._batcher._waiting:
        time.sleep(0.001)
    pipeline.start()
    pipeline.close()
    thread.join(timeout=20)
    assert len(store.objects) == 40
