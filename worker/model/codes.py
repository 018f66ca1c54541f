"""What a latent decides: a few attributes, some of them one choice of several, some continuous.

A fixed projection reads them off the latent: in each group of outputs the largest wins, and every other output becomes
a value in (0, 1) through the normal distribution function. It is computed in float64 whatever the precision of the
network: in lower precision a choice would flip now and then, and with it the whole picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.model.config import CodesConfig


@dataclass(frozen=True, slots=True)
class Codes:
    """Attributes of B latents: ``choices`` int64 [B] by name, ``values`` float32 [B, V] in (0, 1), and as features.

    ``hot`` float32 [B, H] holds the choices one-hot side by side; ``features`` [B, H + V] the values in (-1, 1) too.
    """

    choices: dict[str, Tensor]
    values: Tensor
    hot: Tensor
    features: Tensor


class LatentCodes(nn.Module):
    """Latents to codes."""

    projection: Tensor

    def __init__(self, latent_dim: int, config: CodesConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("projection", torch.empty(config.features, latent_dim))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw a projection whose rows are orthonormal, so that all attributes are independent."""
        drawn = torch.randn(self.projection.shape[::-1], generator=generator, dtype=torch.float64)
        self.projection.copy_(torch.linalg.qr(drawn).Q.T)

    def forward(self, latents: Tensor) -> Codes:
        """Return the codes of latents float32 [B, latent_dim]."""
        scores = latents.double() @ self.projection.double().T
        *groups, rest = torch.split(scores, [*(size for _, size in self.config.choices), self.config.values], dim=1)
        choices = {name: group.argmax(dim=1) for (name, _), group in zip(self.config.choices, groups, strict=True)}
        values = (0.5 * (1 + torch.erf(rest * math.sqrt(0.5)))).float()
        return self.encode(choices, values)

    def encode(self, choices: dict[str, Tensor], values: Tensor) -> Codes:
        """Return the codes of given attributes."""
        hot = torch.cat([functional.one_hot(choices[name], n).float() for name, n in self.config.choices], dim=1)
        return Codes(choices, values, hot, torch.cat([hot, values * 2 - 1], dim=1))
