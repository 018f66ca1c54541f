"""Files of weights, in PyTorch's format or as safetensors: read without running any code in them, named by SHA-256.

A path comes in; plain values and tensors go out, and the state dict that fits a network, wherever in the file the
training code put it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import torch
from torch import Tensor

from worker.errors import CheckpointError

GET_ONE = "put your best.pt there; the demo checkpoint comes back with: git checkout checkpoints"

SAFETENSORS = ".safetensors"

AVERAGED = ("ema", "averaged", "swa", "shadow")
"""Words in the name of weights that were averaged over training, which are made for inference and so preferred."""

MAX_DEPTH = 4
"""How deep in a file state dicts are looked for."""

DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""What weights may be stored as; counters and masks beside them may be integers and booleans."""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file that was read: ``content`` is what it holds, ``sha256`` that of the file."""

    path: Path
    sha256: str
    content: Any


@dataclass(frozen=True, slots=True)
class FoundState:
    """A state dict, and where in the file it was: ``"model_state_dict, prefix 'module.' removed"``."""

    state: Mapping[str, Tensor]
    where: str


def read_weights(path: str | Path) -> WeightsFile:
    """Read a file of weights.

    Of a ``.safetensors`` file the metadata are handed on beside ``state_dict``; those that are JSON are decoded, so
    that a ``config`` may travel there.

    Raises:
        CheckpointError: if it is missing or damaged, would need pickle, or is replaced while it is read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            content = _read_safetensors(path) if path.suffix.lower() == SAFETENSORS else _read_torch(path, file)
            if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                raise CheckpointError(f"{path}: was replaced while it was read: start again")
    except OSError as error:
        raise CheckpointError(f"{path.absolute()}: cannot be read ({error.strerror or error}): {GET_ONE}") from error
    return WeightsFile(path, sha256, content)


def find_state(file: WeightsFile, wanted: Mapping[str, Tensor], maker: str) -> FoundState:
    """Find the state dict that a network wants: under any key, behind any prefix, averaged weights before others.

    Args:
        file: where to look.
        wanted: names and shapes of the network's own state dict.
        maker: whose network it is, for messages.

    Raises:
        CheckpointError: naming what is missing, unknown or of another shape in what comes nearest.
    """
    candidates = list(_state_dicts(file.content))
    if not candidates:
        keys = sorted(map(str, file.content))[:5] if isinstance(file.content, Mapping) else type(file.content).__name__
        raise CheckpointError(
            f"{file.path}: no state dict was found (it holds {keys}): save it as "
            "{'model_state_dict': model.state_dict()}"
        )
    fitting = [found for where, state in candidates for found in _fits(where, state, wanted)]
    if not fitting:
        _, nearest = max(candidates, key=lambda candidate: len(set(candidate[1]) & set(wanted)))
        compare_states(file.path, wanted, nearest, maker)
    found = min(fitting, key=lambda found: not any(word in found.where.lower() for word in AVERAGED))
    compare_states(file.path, wanted, found.state, maker)
    check_weights(file.path, found.state)
    return found


def check_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Check that the values of a state dict can be computed with.

    Raises:
        CheckpointError: naming the tensor that cannot.
    """
    broken = next((name for name, tensor in state.items() if not bool(tensor.isfinite().all())), None)
    if broken:
        raise CheckpointError(f"{path}: its weights {broken!r} hold values that are not finite: train it again")


def compare_states(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], maker: str) -> None:
    """Check that a file's weights are those that a network has, by name, kind and shape.

    Raises:
        CheckpointError: naming what is missing, unknown, odd or of another shape; ``maker`` says whose network it is.
    """
    both = [name for name in wanted if name in found]
    odd = next((name for name in both if not _is_plain(found[name], wanted[name])), None)
    if odd:
        raise CheckpointError(
            f"{path}: its weights {odd!r} ({found[odd].dtype}) are no plain tensor in memory of the kind that {maker} "
            "has: save the file again, from model.state_dict()"
        )
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    reshaped = [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in both
        if found[name].shape != wanted[name].shape
    ]
    if not (missing or unknown or reshaped):
        return
    faults = [f"{len(missing)} missing ({missing[0]}, ...)"] if missing else []
    faults += [f"{len(unknown)} unknown ({unknown[0]}, ...)"] if unknown else []
    faults += [f"{len(reshaped)} of another shape ({reshaped[0]}, ...)"] if reshaped else []
    raise CheckpointError(f"{path}: its weights are of another architecture than {maker}: {'; '.join(faults)}")


def _state_dicts(content: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping of names to tensors in the content, and the keys that lead to it."""
    if not isinstance(content, Mapping) or depth > MAX_DEPTH:
        return
    state = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if state:
        yield where or "the top of the file", state
    for name, value in content.items():
        yield from _state_dicts(value, f"{where}.{name}" if where else str(name), depth + 1)


def _fits(where: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[FoundState]:
    """Yield the parts of a state dict, each behind one prefix, that have the names that are wanted and no others.

    Behind no prefix nothing else may be there; behind one there may be counters and other models beside it.
    """
    if set(state) == set(wanted):
        yield FoundState(state, where)
    first = next(iter(wanted), "")
    for prefix in sorted({name.removesuffix(first) for name in state if name.endswith(f".{first}")}):
        part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if set(part) == set(wanted):
            yield FoundState(part, f"{where}, prefix {prefix!r} removed")


def _is_plain(found: Tensor, wanted: Tensor) -> bool:
    """Return whether a tensor is in memory, all of it, and of the kind that is wanted: floating point or not."""
    return (
        found.layout is torch.strided
        and found.device.type == "cpu"
        and not found.is_quantized
        and (found.dtype in DTYPES if wanted.is_floating_point() else found.dtype == wanted.dtype)
        and found.untyped_storage().nbytes() >= found.numel() * found.element_size()
    )


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
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
        if zipfile.is_zipfile(file) and zipfile.ZipFile(file).testzip():
            raise CheckpointError(f"{path}: damaged, a checksum inside is wrong: copy it again")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, CheckpointError):
        raise
    except Exception as error:  # torch raises many kinds on a damaged file
        file.seek(0)
        if isinstance(error, pickle.UnpicklingError) and file.read(1) in (b"P", b"\x80"):
            raise CheckpointError(
                f"{path}: refused, because it can be loaded only by running code in it (pickle): use a checkpoint that "
                "holds plain values and tensors alone, such as a state dict, or a .safetensors file"
            ) from error
        raise CheckpointError(
            f"{path}: damaged, or not a PyTorch checkpoint (TorchScript is none: save a state dict): copy it again"
        ) from error
