"""From files to a network that is ready to compute: the built-in one, or the user's own."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from worker.errors import CheckpointError
from worker.model.architecture import build_network, user_code
from worker.model.checkpoint import checkpoint_in
from worker.model.config import ARCHITECTURE
from worker.model.custom import CustomNetwork
from worker.model.tokenizer import CaptionTokenizer
from worker.model.weights import WeightsFile, read_weights

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network on the CPU, and what is known of it."""

    network: Any
    """A SeedNetwork or a CustomNetwork."""
    tokenizer: CaptionTokenizer
    name: str
    precision: Precision
    architecture: str
    """For a user's class its dotted path and the digest of its file."""
    trained: bool
    sha256: str
    """Of the checkpoint file."""
    weights: str
    """Where in the file the weights were."""
    latent_dim: int
    vocab_size: int
    image_size: int
    """Height and width of a picture in pixels."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def load_model(
    checkpoint: str | Path,
    tokenizer: str | Path,
    *,
    architecture: str | None = None,
    precision: Precision = "fp32",
    latent_dim: int | None = None,
    vocab_size: int | None = None,
) -> LoadedModel:
    """Load a checkpoint.

    Args:
        checkpoint: a ``.pt`` or ``.safetensors`` file.
        tokenizer: the ``tokenizer.json`` that belongs to it.
        architecture: ``module:Class`` of the user's own network; ``None`` for the built-in one.
        precision: ``fp32``, or ``bf16`` for bfloat16.
        latent_dim: if given, what the checkpoint must have.
        vocab_size: likewise.

    Raises:
        CheckpointError, TokenizerError, ArchitectureError: with what to do about it.
    """
    if precision not in get_args(Precision):
        raise CheckpointError(f"precision={precision!r} is not known: use 'fp32' or 'bf16'")
    file = read_weights(checkpoint)
    vocabulary = CaptionTokenizer(tokenizer)
    if architecture:
        with contextlib.redirect_stdout(sys.stderr):  # what the user's file prints is no output of ours
            model = _custom(architecture, file, vocabulary, precision, latent_dim)
    else:
        model = _built_in(file, vocabulary, precision)
    _check_dimensions(file.path, model, latent_dim, vocab_size)
    return model


def _built_in(file: WeightsFile, tokenizer: CaptionTokenizer, precision: Precision) -> LoadedModel:
    found = checkpoint_in(file)
    network = found.build()
    return LoadedModel(
        network=network.in_bfloat16() if precision == "bf16" else network,
        tokenizer=tokenizer,
        name=found.config.name,
        precision=precision,
        architecture=ARCHITECTURE,
        trained=found.trained,
        sha256=file.sha256,
        weights="model_state_dict",
        latent_dim=found.config.latent_dim,
        vocab_size=found.config.vocab_size,
        image_size=found.config.image_size,
    )


def _custom(
    dotted: str, file: WeightsFile, tokenizer: CaptionTokenizer, precision: Precision, latent_dim: int | None
) -> LoadedModel:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with user_code(dotted, file.path) as code:
        built = build_network(code, file, latent_dim=latent_dim, vocab_size=tokenizer.vocab_size)
        network = CustomNetwork(built.network, dotted, tokenizer.vocab_size, dtype)
        network.try_out(built.latent_dim)
        digest = code.digest()
    return LoadedModel(
        network=network,
        tokenizer=tokenizer,
        name=dotted.split(":")[1],
        precision=precision,
        architecture=f"{dotted}@{digest[:16]}",
        trained=True,
        sha256=file.sha256,
        weights=built.found.where,
        latent_dim=built.latent_dim,
        vocab_size=tokenizer.vocab_size,
        image_size=network.image_size,
    )


def _check_dimensions(path: Path, model: LoadedModel, latent_dim: int | None, vocab_size: int | None) -> None:
    for name, asked, found in (
        ("latent_dim", latent_dim, model.latent_dim),
        ("vocab_size", vocab_size, model.vocab_size),
    ):
        if asked is not None and asked != found:
            raise CheckpointError(f"{name}={asked} was asked for, but {path} has {name}={found}: give {found}")
    if model.tokenizer.vocab_size != model.vocab_size:
        raise CheckpointError(
            f"{model.tokenizer.path} has {model.tokenizer.vocab_size} tokens, but {path} has "
            f"vocab_size={model.vocab_size}: the two files do not belong together"
        )
