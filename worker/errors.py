"""Errors of the worker's side; the root is the producer's SeedmillError.

SeedmillError
`-- WorkerError
    |-- FileError               a file or folder could not be written
    |-- SetupError              the process cannot start; the message says what to do
    |   |-- CheckpointError
    |   |-- TokenizerError
    |   `-- DeviceError
    |-- EncodeError             the picture could not be made a file
    |-- StorageError            the object store refused or does not answer
    |   `-- ObjectMissing
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


class TokenizerError(SetupError):
    """The tokenizer file cannot be used."""


class DeviceError(SetupError):
    """The device asked for is not there."""


class EncodeError(WorkerError):
    """A picture could not be encoded."""


class StorageError(WorkerError):
    """The object store refused, or does not answer."""


class ObjectMissing(StorageError):
    """The object is not there."""


class InvalidMessage(WorkerError, ValueError):
    """A Celery message that is not a chunk of seeds."""
