"""Files of weights, in PyTorch's format or as safetensors: read without running any code in them, named by SHA-256.

A path comes in; plain values and tensors go out. Which of them a network's weights are is found in states.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import torch

from worker.errors import CheckpointError

GET_ONE = "put your best.pt there; the demo checkpoint comes back with: git checkout checkpoints"

SAFETENSORS = ".safetensors"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file that was read: ``content`` is what it holds, ``sha256`` that of the file."""

    path: Path
    sha256: str
    content: Any


def read_weights(path: str | Path) -> WeightsFile:
    """Read a file of weights into memory; what happens to the file afterwards changes nothing.

    Of a ``.safetensors`` file the metadata are handed on beside ``state_dict``; those that are JSON are decoded, so
    that a ``config`` may travel there.

    Raises:
        CheckpointError: if it is missing or damaged, would need pickle, or is written to while it is read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            before = _version(os.fstat(file.fileno()))
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            content = _read_safetensors(path) if path.suffix.lower() == SAFETENSORS else _read_torch(path, file)
            if not before == _version(os.fstat(file.fileno())) == _version(path.stat()):
                raise CheckpointError(f"{path}: was written to while it was read: start again")
    except OSError as error:
        raise CheckpointError(f"{path.absolute()}: cannot be read ({error.strerror or error}): {GET_ONE}") from error
    return WeightsFile(path, sha256, content)


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            # What the library gives is the file itself, mapped into memory: it would follow the file's changes.
            state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except OSError:
        raise
    except Exception as error:  # the library raises many kinds
        raise CheckpointError(f"{path}: damaged, or not a safetensors file ({error}): copy it again") from error
    return {**{name: _decoded(value) for name, value in metadata.items()}, "state_dict": state}


def _decoded(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _read_torch(path: Path, file: BinaryIO) -> Any:
    try:
        if zipfile.is_zipfile(file):
            _check_archive(path, file)
        file.seek(0)
        with warnings.catch_warnings(action="ignore"):  # of TorchScript, which is refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, CheckpointError):
        raise
    except Exception as error:  # torch raises many kinds on a damaged file
        file.seek(0)
        if isinstance(error, pickle.UnpicklingError) and file.read(1) in (b"P", b"\x80"):
            raise CheckpointError(
                f"{path}: refused, because it can be loaded only by running code in it (pickle{_culprit(error)}): use "
                "a checkpoint that holds plain values and tensors alone, such as {'model_state_dict': "
                "model.state_dict(), 'config': {...}}, or a .safetensors file"
            ) from error
        raise CheckpointError(
            f"{path}: damaged, or not a PyTorch checkpoint (TorchScript is none: save a state dict): copy it again"
        ) from error


def _check_archive(path: Path, file: BinaryIO) -> None:
    """Check that an archive is as PyTorch writes it: nothing compressed, so that it is no larger than it looks."""
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    if (
        any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        or sum(entry.file_size for entry in entries) > os.fstat(file.fileno()).st_size
    ):
        raise CheckpointError(f"{path}: refused, because it is compressed, which torch.save does not do: save it again")
    if archive.testzip():
        raise CheckpointError(f"{path}: damaged, a checksum inside is wrong: copy it again")


def _culprit(error: pickle.UnpicklingError) -> str:
    """Return what PyTorch says it would have to run, as ``" of numpy.dtype"``; nothing if it does not say."""
    found = re.search(r"GLOBAL ([\w.]+) was not|type ([\w.]+)|class ([\w.]+)", str(error))
    return f" of {next(name for name in found.groups() if name)}" if found else ""
