"""Errors of the worker's side; the root is the producer's SeedmillError.

SeedmillError
`-- WorkerError
    |-- FileError               a file or folder could not be written
    |-- SetupError              the process cannot start; the message says what to do
    |   |-- QueueTaken          its queue is served with another model
    |   |-- CheckpointError
    |   |-- ArchitectureError
    |   |-- TokenizerError
    |   `-- DeviceError
    |       `-- OutOfDeviceMemory
    |-- DecodeError             the network gave what is no picture
    |-- EncodeError             the picture could not be made a file
    |-- StorageError            the object store refused or does not answer
    |   |-- StorageUnreachable  it does not answer, or asks to try again
    |   |-- BucketMissing
    |   `-- ObjectMissing
    |-- GivenBack               the work stops here unfinished and goes back to the queue
    |   `-- StorageSilent       because the object store has not answered any more
    |-- OtherModel              the job was begun with another model than its queue has now
    |-- SeedKillsWorker         workers died each time that they tried this seed
    |-- MalformedMessage        a text in the queue that is no message for our task
    `-- InvalidMessage          a Celery message that is not a chunk of seeds
"""

from __future__ import annotations

from producer.errors import SeedmillError


class WorkerError(SeedmillError):
    """Root of the worker's own errors."""


class FileError(WorkerError):
    """A file or folder could not be written."""


class SetupError(WorkerError):
    """The process cannot start as it is set up."""


class QueueTaken(SetupError):
    """The queue is served with another model."""


class CheckpointError(SetupError):
    """The checkpoint file cannot be used."""


class ArchitectureError(SetupError):
    """The user's own network cannot be used."""


class TokenizerError(SetupError):
    """The tokenizer file cannot be used."""


class DeviceError(SetupError):
    """The device asked for is not there."""


class OutOfDeviceMemory(DeviceError):
    """The memory of the device does not suffice."""


class DecodeError(WorkerError):
    """The network gave what is no picture."""


class EncodeError(WorkerError):
    """A picture could not be encoded."""


class StorageError(WorkerError):
    """The object store refused, or does not answer."""


class StorageDenied(StorageError):
    """The keys are good, and do not have the right to it."""


class StorageUnreachable(StorageError):
    """The object store does not answer, or asks to try again later."""


class GivenBack(WorkerError):
    """The work goes back to the queue unfinished; ``counts`` says whether this was one of its attempts."""

    def __init__(self, message: str, *, counts: bool = False) -> None:
        super().__init__(message)
        self.counts = counts


class StorageSilent(GivenBack):
    """The object store has not answered anything for as long as a seed waits for it."""


class OtherModel(WorkerError):
    """The job was begun with another model than its queue has now."""


class SeedKillsWorker(WorkerError):
    """Workers died each time that they tried this seed."""


class MalformedMessage(WorkerError):
    """A text in the queue that is no message for our task; ``task_id`` is "" where it names none."""

    task_id = ""


class BucketMissing(StorageError):
    """The bucket is not there."""


class ObjectMissing(StorageError):
    """The object is not there."""


class InvalidMessage(WorkerError, ValueError):
    """A Celery message that is not a chunk of seeds."""
