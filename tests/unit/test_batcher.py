"""Whatever waits is taken the moment the device is free."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from worker.batcher import Batcher

WAIT_S = 10.0


class Device:
    """A device that works only when told to, so that tests decide what waits meanwhile."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.release = threading.Semaphore(0)

    def run(self, batch: list[int]) -> None:
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
    batcher: Batcher[int] = Batcher(seen.extend, max_batch=2)
    batcher.submit([1, 2, 3])
    batcher.start()
    batcher.close()
    assert seen == [1, 2, 3]
    with pytest.raises(RuntimeError):
        batcher.submit([4])
