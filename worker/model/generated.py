"""What a model gives, and what identifies it: plain values, so that all that handles them does without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What identifies a model: results of equal ``id`` are equal bit for bit."""

    id: str
    name: str
    architecture: str
    precision: str
    trained: bool
    weights: str
    """Where in the checkpoint file the weights were."""
    checkpoint_sha256: str
    tokenizer_sha256: str
    latent_dim: int
    vocab_size: int
    image_size: int
    device: str
    parameters: int


@dataclass(frozen=True, slots=True)
class Generated:
    """One result: ``pixels`` uint8 [height, width, 3] in RGB order, possibly a view, and the caption."""

    seed: int
    pixels: NDArray[np.uint8]
    caption: str


def unheard() -> None:
    """Do nothing: nobody waits to be told that the device is free."""
