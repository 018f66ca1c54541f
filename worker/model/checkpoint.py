"""Checkpoint files: written with their config, read weights-only, named by their SHA-256.

A file holds a dictionary of plain values and tensors: ``format``, ``architecture``, ``config``, ``trained`` and
``model_state_dict``. Nothing is ever unpickled that could run code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worker.errors import CheckpointError
from worker.files import write_atomically
from worker.model.config import ARCHITECTURE, ModelConfig
from worker.model.network import SeedNetwork

FORMAT = "seedmill-checkpoint/1"
MAKE_ONE = "put your best.pt there, or make an untrained one with: python -m worker checkpoint init --preset demo"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read: ``sha256`` is that of the file, ``state`` maps parameter names to tensors."""

    path: Path
    sha256: str
    config: ModelConfig
    trained: bool
    state: Mapping[str, Tensor]

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(tensor.numel() for tensor in self.state.values())

    def build(self) -> SeedNetwork:
        """Return the network with these weights, ready for inference on the CPU.

        Raises:
            CheckpointError: if the weights are not those of the network that the config describes.
        """
        with torch.device("meta"):
            network = SeedNetwork(self.config)
        _compare(self.path, network.state_dict(), self.state)
        network = SeedNetwork(self.config)
        network.load_state_dict(self.state)
        return network.eval().requires_grad_(False)


def save_checkpoint(path: str | Path, network: SeedNetwork, *, trained: bool) -> None:
    """Write the network to ``path`` in one step; the same weights give the same bytes, whatever the file's name."""
    content = {
        "format": FORMAT,
        "architecture": ARCHITECTURE,
        "config": network.config.model_dump(mode="json"),
        "trained": trained,
        "model_state_dict": dict(network.state_dict()),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(Path(path), buffer.getvalue())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises:
        CheckpointError: if it is missing, damaged, would need pickle, or is of another architecture.
    """
    path = Path(path)
    content, sha256 = _read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        keys = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path}: not a checkpoint of this program (format {FORMAT!r} expected; found {keys}): "
            "use a checkpoint written by it"
        )
    if content.get("architecture") != ARCHITECTURE:
        raise CheckpointError(
            f"{path}: its architecture is {content.get('architecture')!r}, this program runs {ARCHITECTURE!r}: "
            "use the version that wrote it"
        )
    try:
        config = ModelConfig.read(content.get("config"))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    state = content.get("model_state_dict")
    if not isinstance(state, dict) or not all(_is_weight(name, value) for name, value in state.items()):
        raise CheckpointError(f"{path}: has no 'model_state_dict' of plain float tensors: save it again")
    broken = next((name for name, value in state.items() if not bool(value.isfinite().all())), None)
    if broken:
        raise CheckpointError(f"{path}: its weights {broken!r} hold values that are not finite: train it again")
    return Checkpoint(path, sha256, config, bool(content.get("trained")), state)


def _read(path: Path) -> tuple[Any, str]:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if zipfile.is_zipfile(file) and zipfile.ZipFile(file).testzip():
                raise CheckpointError(f"{path}: damaged, a checksum inside is wrong: copy it again")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True), sha256
    except OSError as error:
        raise CheckpointError(f"{path.absolute()}: cannot be read ({error.strerror or error}): {MAKE_ONE}") from error
    except CheckpointError:
        raise
    except Exception as error:  # torch raises many kinds on a damaged file
        if isinstance(error, pickle.UnpicklingError) and _is_archive_or_pickle(path):
            raise CheckpointError(
                f"{path}: refused, because it can be loaded only by running code in it (pickle): "
                "use a checkpoint that holds plain values and tensors alone"
            ) from error
        raise CheckpointError(f"{path}: damaged, or not a PyTorch checkpoint: copy it again") from error


def _is_weight(name: object, value: object) -> bool:
    """Return whether this is a named tensor of plain floating-point values in memory."""
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.is_floating_point()
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _is_archive_or_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) in (b"P", b"\x80")


def _compare(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = sorted(set(wanted) - set(found))
    unknown = sorted(set(found) - set(wanted))
    reshaped = [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    if not (missing or unknown or reshaped):
        return
    faults = [f"{len(missing)} missing ({missing[0]}, ...)"] if missing else []
    faults += [f"{len(unknown)} unknown ({unknown[0]}, ...)"] if unknown else []
    faults += [f"{len(reshaped)} of another shape ({reshaped[0]}, ...)"] if reshaped else []
    raise CheckpointError(f"{path}: its weights are of another architecture than its config: {'; '.join(faults)}")
