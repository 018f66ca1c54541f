"""Whatever waits is taken the moment the device is free."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import pytest

from worker.batcher import Batcher

WAIT_S = 10.0


class Device:
    """A device that works only when told to, so that tests decide what waits meanwhile."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.release = threading.Semaphore(0)

    def run(self, batch: list[int], free: Callable[[], None]) -> None:
        self.batches.append(batch)
        self.entered.release()
        assert self.release.acquire(timeout=WAIT_S)

    def step(self) -> None:
        """Let the current batch end."""
        self.release.release()

    def wait_busy(self) -> None:
        """Wait until a batch has begun."""
        assert self.entered.acquire(timeout=WAIT_S)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def batcher(device: Device) -> Iterator[Batcher[int]]:
    batcher: Batcher[int] = Batcher(device.run, max_batch=4)
    batcher.start()
    yield batcher
    for _ in range(100):
        device.step()
    batcher.close()


def test_a_lone_item_waits_for_no_window(batcher: Batcher[int], device: Device) -> None:
    batcher.submit([1])
    device.wait_busy()
    assert device.batches == [[1]]


def test_what_gathers_while_the_device_works_becomes_one_batch(batcher: Batcher[int], device: Device) -> None:
    batcher.submit([1])
    device.wait_busy()
    batcher.submit([2])
    batcher.submit([3, 4])
    device.step()
    device.wait_busy()
    assert device.batches == [[1], [2, 3, 4]]


def test_a_batch_is_never_above_the_limit_and_order_is_kept(batcher: Batcher[int], device: Device) -> None:
    batcher.submit(range(10))
    for _ in range(3):
        device.wait_busy()
        device.step()
    assert device.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_closing_runs_what_waits_and_takes_no_more() -> None:
    seen: list[int] = []
    batcher: Batcher[int] = Batcher(lambda batch, _: seen.extend(batch), max_batch=2)
    batcher.submit([1, 2, 3])
    batcher.start()
    batcher.close()
    assert seen == [1, 2, 3]
    with pytest.raises(RuntimeError):
        batcher.submit([4])


class Parts:
    """A device whose batches are freed and ended one by one, as the test says."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[tuple[list[int], Callable[[], None]]] = SimpleQueue()
        self.ends = {number: threading.Event() for number in range(10)}
        self.under_way: set[int] = set()
        self.most = 0

    def run(self, batch: list[int], free: Callable[[], None]) -> None:
        self.under_way.add(batch[0])
        self.most = max(self.most, len(self.under_way))
        self.begun.put((batch, free))
        assert self.ends[batch[0]].wait(WAIT_S)
        self.under_way.remove(batch[0])

    def next(self) -> tuple[list[int], Callable[[], None]]:
        """Return the batch that begins next, and what frees the device of it."""
        return self.begun.get(timeout=WAIT_S)


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    yield parts
    for end in parts.ends.values():
        end.set()


def test_the_next_batch_begins_when_the_device_is_free_of_the_one_before(parts: Parts) -> None:
    batcher: Batcher[int] = Batcher(parts.run, max_batch=2)
    batcher.submit(range(8))
    batcher.start()
    batch, free = parts.next()
    assert batch == [0, 1]
    with pytest.raises(Empty):
        parts.begun.get(timeout=0.1)
    free()
    free()
    batch, free_second = parts.next()
    assert batch == [2, 3]
    free()  # of a batch whose turn has passed: says nothing of the one that has it now
    parts.ends[0].set()
    with pytest.raises(Empty):
        parts.begun.get(timeout=0.1)
    free_second()
    batch, free_third = parts.next()
    assert batch == [4, 5]
    free_third()
    with pytest.raises(Empty):  # two are under way
        parts.begun.get(timeout=0.1)
    parts.ends[2].set()
    assert parts.next()[0] == [6, 7]
    assert parts.most == 2


def test_a_batch_that_ends_while_the_next_has_the_device_leaves_it_to_that(parts: Parts) -> None:
    batcher: Batcher[int] = Batcher(parts.run, max_batch=1)
    batcher.submit([0, 1, 2])
    batcher.start()
    parts.next()[1]()
    parts.next()
    parts.ends[0].set()
    with pytest.raises(Empty):
        parts.begun.get(timeout=0.1)
    parts.ends[1].set()
    assert parts.next()[0] == [2]


def test_closing_waits_for_both_batches_and_runs_the_rest(parts: Parts) -> None:
    batcher: Batcher[int] = Batcher(parts.run, max_batch=1)
    batcher.submit([0, 1, 2])
    batcher.start()
    parts.next()[1]()
    parts.next()
    assert not batcher.close(0.05)
    for number in (1, 0):
        parts.ends[number].set()
    parts.ends[2].set()
    assert batcher.close(WAIT_S)
    assert parts.next()[0] == [2]
    assert not parts.under_way


def test_a_thread_that_breaks_ends_the_other_and_leaves_what_is_in_line() -> None:
    def run(batch: list[int], free: Callable[[], None]) -> None:
        free()
        raise SystemExit(str(batch))

    batcher: Batcher[int] = Batcher(run, max_batch=1)
    batcher.submit(range(9))
    batcher.start()
    assert batcher.close(WAIT_S)
    assert batcher.has_broken
    assert 7 <= len(batcher) <= 8
    with pytest.raises(RuntimeError):
        batcher.submit([9])
