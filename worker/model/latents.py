"""From a seed to its latent: the one mapping that every machine must agree on.

Standard normal values are drawn in float64 by PyTorch's CPU generator (Mersenne Twister, seeded with the seed) and
cast to float32. Drawn in float32 directly they would differ between CPUs with and without AVX2; in float64 they do
not. The draw never happens on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_latents(seeds: Sequence[int], latent_dim: int) -> Tensor:
    """Return float32 [len(seeds), latent_dim]; row i depends on ``seeds[i]`` alone."""
    rows = torch.empty((len(seeds), latent_dim), dtype=torch.float32, device="cpu")
    generator = torch.Generator(device="cpu")
    for row, seed in zip(rows, seeds, strict=True):
        generator.manual_seed(seed)
        row.copy_(torch.randn(latent_dim, generator=generator, dtype=torch.float64, device="cpu"))
    return rows
