"""What becomes of work that failed, by its error."""

from __future__ import annotations

import pytest

from producer.errors import QueueRefused, QueueUnreachable
from worker.errors import (
    BucketMissing,
    DecodeError,
    EncodeError,
    GivenBack,
    ObjectMissing,
    OutOfDeviceMemory,
    StorageError,
    StorageUnreachable,
)
from worker.failures import Fate, fate_of


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (StorageUnreachable("503 SlowDown"), Fate.AGAIN),
        (QueueUnreachable("connection reset"), Fate.AGAIN),
        (QueueRefused("memory is full"), Fate.AGAIN),
        (GivenBack("stopping"), Fate.AGAIN),
        (GivenBack("memory", counts=True), Fate.COUNTED),
        (MemoryError("no more"), Fate.COUNTED),
        (OutOfDeviceMemory("does not fit"), Fate.COUNTED),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), Fate.COUNTED),
        (StorageError("AccessDenied"), Fate.FAILED),
        (BucketMissing("gone"), Fate.FAILED),
        (ObjectMissing("gone"), Fate.FAILED),
        (DecodeError("pictures in [-1, 1]"), Fate.FAILED),
        (EncodeError("no picture"), Fate.FAILED),
        (ValueError("bad"), Fate.FAILED),
        (TimeoutError("raised by a user's own code"), Fate.FAILED),
        (ConnectionError("raised by a user's own code"), Fate.FAILED),
        (RuntimeError("shapes do not match"), Fate.FAILED),
        (AssertionError(), Fate.FAILED),
    ],
)
def test_the_fate_of_work_follows_from_its_error(error: Exception, fate: Fate) -> None:
    assert fate_of(error) is fate
