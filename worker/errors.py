"""Errors of the worker's side; the root is the producer's SeedmillError.

SeedmillError
`-- WorkerError
    |-- FileError               a file or folder could not be written
    |-- SetupError              the process cannot start; the message says what to do
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


class StorageUnreachable(StorageError):
    """The object store does not answer, or asks to try again later."""


class GivenBack(WorkerError):
    """The worker is stopping; the work goes back to the queue unfinished."""


class BucketMissing(StorageError):
    """The bucket is not there."""


class ObjectMissing(StorageError):
    """The object is not there."""


class InvalidMessage(WorkerError, ValueError):
    """A Celery message that is not a chunk of seeds."""
