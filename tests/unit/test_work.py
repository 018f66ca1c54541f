"""A seed that several want is work once; its outcome reaches all who wait; nobody else's letting go ends it."""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from producer.contract import SeedStatus
from producer.message import SeedResult
from tests.unit.fakes import MODEL, FakeModel, FakeStore
from worker.errors import GivenBack
from worker.line import Line
from worker.model.generated import Generated
from worker.order import Order
from worker.pipeline import Pipeline
from worker.publish import Publisher
from worker.work import InFlight, Joined, Outcome, Work

DONE = SeedResult(7, SeedStatus.SUCCEEDED)


def test_who_joins_work_gets_its_outcome_also_late_as_long_as_somebody_has_it_in_hand() -> None:
    flight = InFlight()
    first, second, third = (Order().want(1) for _ in range(3))
    joined = flight.join([7], first, 0)
    (work,) = joined.new
    assert flight.join([7], second, 0) == ([work], [], [])
    work.end(DONE)
    work.end(None)
    assert flight.join([7], third, 0) == ([work], [], [])
    assert [futures[0].result(0) for futures in (first, second, third)] == [DONE, DONE, DONE]
    for _ in range(3):
        assert flight.join([7], Order().want(1), 0).new == []
        work.release()
        work.release()
    assert len(flight.join([7], Order().want(1), 0).new) == 1


@pytest.mark.parametrize("outcome", [SeedResult.failure(7, ValueError()), GivenBack("away"), None])
def test_what_was_no_success_is_begun_anew(outcome: Outcome) -> None:
    flight = InFlight()
    (work,) = flight.join([7], Order().want(1), 0).new
    work.end(outcome)
    (again,) = flight.join([7], Order().want(1), 0).new
    assert again is not work


def test_work_goes_on_while_one_order_wants_it_and_is_left_when_none_does() -> None:
    flight = InFlight()
    leaves, stays = Order(), Order()
    (work,) = flight.join([7], leaves.want(1), 0).new
    flight.join([7], stays.want(1), 0)
    leaves.cancel()
    assert work.wanted
    assert not work.leave()
    stays.give_back(GivenBack("stopping"))
    assert work.leave()
    assert len(flight.join([7], Order().want(1), 0).new) == 1, "what was left is not joined"


def test_a_device_is_given_a_seed_once_even_if_it_stands_in_line_twice() -> None:
    flight = InFlight()
    (work,) = flight.join([7], Order().want(1), 9).new
    assert flight.join([7], Order().want(1), 0).hastened == [work], "in line again, for who is in a hurry"
    assert flight.join([7], Order().want(1), 0).hastened == [], "that once is enough"
    assert [work.begin(), work.begin()] == [True, False]
    assert flight.join([7], Order().want(1), -1).hastened == [], "it is on the device"


def test_nobody_waits_for_ever_whatever_joins_leaves_and_ends_at_once() -> None:
    flight = InFlight()

    def hammer(number: int) -> list[Outcome]:
        outcomes = []
        for turn in range(300):
            order = Order()
            futures = order.want(2)
            joined = flight.join([turn % 3, 9], futures, number % 2)
            if (turn + number) % 3 == 0:
                order.cancel()
            for item in joined.new + joined.hastened:
                if item.begin():
                    item.end(DONE)
            outcomes += [future.result(10) for future in futures]
        return outcomes

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(hammer, number) for number in range(8)]:
            assert all(outcome in (DONE, None) for outcome in future.result(60))
    gc.collect()
    assert len(flight._work) == 0


class Slow(FakeModel):
    """Waits in its first batch until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.drawn_by: set[str] = set()

    def draw(self, seeds: Sequence[int]) -> list[str]:
        self.drawn_by.add(threading.current_thread().name)
        return super().draw(seeds)

    def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
        assert threading.current_thread().name.startswith("device")
        self.begun.set()
        assert self.go_on.wait(20)
        return super().generate(seeds, latents, free)


def in_company(model: Slow, first: Order, second: Order, seeds: Sequence[int]) -> tuple[list[Outcome], list[Outcome]]:
    """Process seeds for two orders at once, the second of which comes while the device is at work."""
    pipeline = Pipeline(model, Publisher(FakeStore(), MODEL, patience_s=0), max_batch=2, upload_threads=2)
    pipeline.start()
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(pipeline.process, seeds, first)
        assert model.begun.wait(20)
        two = pool.submit(pipeline.process, seeds, second)
        while not all(len(order._futures) == len(seeds) for order in (first, second)):
            pass
        first.cancel()
        model.go_on.set()
        outcomes = one.result(20), two.result(20)
    assert pipeline.close(10)
    return outcomes


def test_seeds_that_two_jobs_want_at_once_are_computed_once() -> None:
    model = Slow()
    canceled, wanted = in_company(model, Order("a"), Order("b"), range(6))
    assert sorted(seed for batch in model.batches for seed in batch) == list(range(6))
    assert set(canceled) == {None}
    assert all(isinstance(outcome, SeedResult) for outcome in wanted), "whoever else has let go"


def test_latents_are_drawn_beside_the_device() -> None:
    model = Slow()
    in_company(model, Order("a"), Order("b"), range(6))
    assert model.drawn_by
    assert "device" not in model.drawn_by


def test_an_urgent_order_does_not_wait_behind_what_it_joins() -> None:
    model = Slow()
    pipeline = Pipeline(model, Publisher(FakeStore(), MODEL, patience_s=0), max_batch=2, upload_threads=2)
    pipeline.start()
    with ThreadPoolExecutor(2) as pool:
        bulk = pool.submit(pipeline.process, range(100), Order("bulk", urgency=9))
        assert model.begun.wait(20)
        hurry = Order("hurry", urgency=0)
        urgent = pool.submit(pipeline.process, [98], hurry)
        while not (hurry._futures and len(pipeline._batcher) == 99):
            pass
        model.go_on.set()
        assert isinstance(urgent.result(20)[0], SeedResult)
        bulk.result(20)
    assert 98 in model.batches[1]
    assert sorted(seed for batch in model.batches for seed in batch) == list(range(100))
    assert pipeline.close(10)


def test_seeds_whose_latents_cannot_be_drawn_fail_and_others_go_on() -> None:
    class Odd(FakeModel):
        def draw(self, seeds: Sequence[int]) -> list[str]:
            if 5 in seeds:
                raise RuntimeError("no such distribution")
            return super().draw(seeds)

    model = Odd()
    pipeline = Pipeline(model, Publisher(FakeStore(), MODEL, patience_s=0), max_batch=2, upload_threads=2)
    pipeline.start()
    outcomes = pipeline.process([5, 6], Order()) + pipeline.process([7], Order())
    states = [outcome.status for outcome in outcomes if isinstance(outcome, SeedResult)]
    assert states == ["failed", "succeeded", "succeeded"]
    assert model.batches == [[6], [7]]
    assert pipeline.close(10)


def test_an_idle_pipeline_has_nothing_in_hand_so_that_what_is_deleted_meanwhile_is_made_again() -> None:
    model, store = FakeModel(), FakeStore()
    pipeline = Pipeline(model, Publisher(store, MODEL, patience_s=0), max_batch=2, upload_threads=2)
    pipeline.start()
    orders = [Order() for _ in range(20)]
    for order in orders:
        pipeline.process(range(5), order)
        order.close()
        store.objects.clear()
    assert len(store.objects) == 0
    assert sorted(seed for batch in model.batches for seed in batch) == sorted([*range(5)] * 20)
    assert pipeline.close(10)


def test_an_urgent_order_may_come_before_the_latents_are_drawn() -> None:
    drawing, go_on = threading.Event(), threading.Event()

    class SlowAtDrawing(FakeModel):
        def draw(self, seeds: Sequence[int]) -> list[str]:
            if not threading.current_thread().name.startswith("device"):
                drawing.set()
                assert go_on.wait(20)
            return super().draw(seeds)

    pipeline = Pipeline(SlowAtDrawing(), Publisher(FakeStore(), MODEL, patience_s=0), max_batch=2, upload_threads=2)
    pipeline.start()
    with ThreadPoolExecutor(2) as pool:
        bulk = pool.submit(pipeline.process, [7], Order("bulk", urgency=9))
        assert drawing.wait(20)
        urgent = pool.submit(pipeline.process, [7], Order("hurry", urgency=0))
        (outcome,) = urgent.result(20)
        go_on.set()
        assert isinstance(outcome, SeedResult)
        assert outcome.status == "succeeded"
        assert bulk.result(20) == [outcome]
    assert pipeline.close(10)


@pytest.mark.parametrize("place", ["hold", "draw", "put", "join"])
@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1)])
def test_who_joined_work_that_never_came_into_line_does_not_wait_in_vain(
    monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException
) -> None:
    model = FakeModel()
    pipeline = Pipeline(model, Publisher(FakeStore(), MODEL, patience_s=0), max_batch=2, upload_threads=2)
    other = Order().want(1)
    owners = {"hold": (Order, "hold"), "draw": (FakeModel, "draw"), "put": (Line, "put"), "join": (InFlight, "_join")}

    def break_off(*_: object, **__: object) -> None:
        with monkeypatch.context() as whole:
            if place == "join":
                whole.setattr(InFlight, "_join", joins)
                pipeline._in_flight._join(1, Order().want(1)[0], Work(1), joined := Joined([], [], []))
                joined.new[0].join(other[0])
                joined.new[0].end(GivenBack("as join does"))
            else:
                pipeline._in_flight.join([1], other, 0)
        raise error

    joins = InFlight._join
    with monkeypatch.context() as patch:
        patch.setattr(*owners[place], break_off)
        if place == "draw" and isinstance(error, Exception):
            pipeline.start()  # the device thread draws then, in vain as well
            assert isinstance(pipeline.process([1], Order())[0], GivenBack)
        else:
            with pytest.raises((GivenBack, type(error))):
                pipeline.process([1], Order())
        assert isinstance(other[0].result(10), GivenBack)


def test_a_device_thread_that_ends_of_an_error_counts_as_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(FakeModel(), Publisher(FakeStore(), MODEL, patience_s=0), max_batch=2, upload_threads=2)
    assert pipeline.device_busy_s == 0

    def short(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Line, "take", short)
    pipeline.start()
    with ThreadPoolExecutor(1) as pool:
        order = Order()
        waiting = pool.submit(pipeline.process, [1], order)
        while pipeline.device_busy_s == 0:
            pass
        assert pipeline.device_busy_s == math.inf
        with pytest.raises(GivenBack):
            pipeline.process([2], Order())
        order.give_back(GivenBack("leaving"))
        assert isinstance(waiting.result(10)[0], GivenBack)


def test_pixels_are_let_go_of_before_the_upload() -> None:
    seen: list[weakref.ref[object]] = []

    class Remembers(FakeModel):
        def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
            made = super().generate(seeds, latents, free)
            seen.extend(weakref.ref(one.pixels) for one in made)
            return made

    store = FakeStore()
    store.opened.clear()
    pipeline = Pipeline(Remembers(), Publisher(store, MODEL, patience_s=0), max_batch=2, upload_threads=2)
    pipeline.start()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(pipeline.process, [1, 2], Order())
        started = time.monotonic()
        while not (len(seen) == 2 and all(one() is None for one in seen)):
            assert time.monotonic() - started < 10, "their uploads wait, and they are kept"
        store.opened.set()
        done.result(10)
    assert pipeline.close(10)
