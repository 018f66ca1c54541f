"""What becomes of work that failed: one function decides, from the error alone."""

from __future__ import annotations

from enum import StrEnum

from producer.errors import QueueError
from worker.errors import GivenBack, OutOfDeviceMemory, StorageUnreachable

NO_MEMORY = "can't allocate memory"
"""How PyTorch says that the machine's own memory does not suffice, in a RuntimeError."""


class Fate(StrEnum):
    """What is done with work that ended with an error."""

    AGAIN = "again"
    """It goes back to the queue as if it had not been tried: the fault is with what is around it."""
    COUNTED = "counted"
    """It goes back to the queue, as one of its attempts: it may be the cause."""
    FAILED = "failed"
    """It fails now: trying again would end the same way."""


def fate_of(error: BaseException) -> Fate:
    """Return what is done with work that ended with ``error``.

    Outages of Redis or of the object store pass, however long they last; memory may suffice another time, or
    elsewhere; everything else is the same the next time, since a seed is a pure function.
    """
    if isinstance(error, GivenBack):
        return Fate.COUNTED if error.counts else Fate.AGAIN
    if isinstance(error, QueueError | StorageUnreachable):
        return Fate.AGAIN
    if isinstance(error, MemoryError | OutOfDeviceMemory) or NO_MEMORY in str(error):
        return Fate.COUNTED
    return Fate.FAILED
