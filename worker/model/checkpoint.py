"""Checkpoints of the built-in network: written with their config, so that a file says by itself what it is.

A file holds a dictionary of plain values and tensors: ``format``, ``architecture``, ``config``, ``trained`` and
``model_state_dict``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from worker.errors import CheckpointError
from worker.files import write_atomically
from worker.model.config import ARCHITECTURE, ModelConfig
from worker.model.network import SeedNetwork
from worker.model.states import check_weights, compare_states
from worker.model.weights import SAFETENSORS, WeightsFile, read_weights

FORMAT = "seedmill-checkpoint/1"


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
        """Return the network with these weights, ready for inference on the CPU in float32.

        Raises:
            CheckpointError: if the weights are not those of the network that the config describes.
        """
        with torch.device("meta"):
            network = SeedNetwork(self.config)
        compare_states(self.path, network.state_dict(), self.state, "its config")
        check_weights(self.path, self.state)
        # The file's tensors become the network's, so that weights in float32 are never there twice.
        network.load_state_dict({name: tensor.float() for name, tensor in self.state.items()}, assign=True)
        return network.eval().requires_grad_(False)


def save_checkpoint(path: str | Path, network: SeedNetwork, *, trained: bool, half: bool = False) -> None:
    """Write the network to ``path`` in one step; the same weights give the same bytes, whatever the file's name.

    The name's ending decides: ``.safetensors``, or PyTorch's format for any other. With ``half`` the file holds the
    weights rounded to float16, half its size; they are computed in float32 as ever.
    """
    weights = {name for name, _ in network.named_parameters()} if half else set()
    state = {name: tensor.half() if name in weights else tensor for name, tensor in network.state_dict().items()}
    facts = {
        "format": FORMAT,
        "architecture": ARCHITECTURE,
        "config": network.config.model_dump(mode="json"),
        "trained": trained,
    }
    path = Path(path)
    if path.suffix == SAFETENSORS:
        write_atomically(path, safetensors.torch.save(state, {name: json.dumps(fact) for name, fact in facts.items()}))
        return
    buffer = io.BytesIO()
    torch.save({**facts, "model_state_dict": state}, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises:
        CheckpointError: if it is missing, damaged, would need pickle, or is of another architecture.
    """
    return checkpoint_in(read_weights(path))


def checkpoint_in(file: WeightsFile) -> Checkpoint:
    """Return the checkpoint that a file holds; raises as :func:`load_checkpoint`."""
    path, content = file.path, file.content
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        keys = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path}: not a checkpoint of the built-in network (format {FORMAT!r} expected; found {keys}): name the "
            "class that it belongs to, as in SEEDMILL_ARCHITECTURE=model_architecture_large:MultimodalModel"
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
    state = content.get("state_dict" if path.suffix.lower() == SAFETENSORS else "model_state_dict")
    if not isinstance(state, dict) or not all(_is_weight(name, value) for name, value in state.items()):
        raise CheckpointError(f"{path}: has no 'model_state_dict' of float tensors: save it again")
    return Checkpoint(path, file.sha256, config, content.get("trained") is True, state)


def _is_weight(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.is_floating_point()
