"""The picture decoder: a latent becomes a grid of features, which grows by stages into a picture.

Input float32 [B, latent_dim], output float32 [B, 3, size, size] in [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.model.config import PictureConfig

GROUPS = 8


def coordinate_features(size: int, frequencies: int) -> Tensor:
    """Return [1, 3 + 4 * frequencies, size, size]: x, y, radius, and sines and cosines of x and y by octaves.

    Always on the CPU, also where a network is built without memory of its own (on the meta device).
    """
    axis = (torch.arange(size, dtype=torch.float64, device="cpu") + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    features = [x, y, (x * x + y * y).sqrt()]
    for octave in range(frequencies):
        scale = math.pi * 2**octave
        features += [torch.sin(scale * x), torch.cos(scale * x), torch.sin(scale * y), torch.cos(scale * y)]
    return torch.stack(features)[None].float()


class StyleNorm(nn.Module):
    """Group normalisation whose scale and shift come from the style vector."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(GROUPS, channels), channels, affine=False)
        self.modulation = nn.Linear(style, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Normalise x [B, C, H, W] under style [B, S]."""
        scale, shift = self.modulation(style)[:, :, None, None].chunk(2, dim=1)
        normal: Tensor = self.norm(x)
        styled: Tensor = normal * (1 + scale) + shift
        return styled


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions behind style norms, added to the input; the sum keeps its variance."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.norm1 = StyleNorm(channels, style)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")
        self.norm2 = StyleNorm(channels, style)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return [B, C, H, W] for x [B, C, H, W] and style [B, S]."""
        inner = self.conv1(functional.silu(self.norm1(x, style)))
        inner = self.conv2(functional.silu(self.norm2(inner, style)))
        total: Tensor = (x + inner) * math.sqrt(0.5)
        return total


class Stage(nn.Module):
    """Takes in the coordinates of its grid, then refines the features by residual blocks."""

    coordinates: Tensor

    def __init__(self, inputs: int, channels: int, blocks: int, size: int, config: PictureConfig) -> None:
        super().__init__()
        features = coordinate_features(size, config.frequencies)
        self.register_buffer("coordinates", features, persistent=False)
        self.entry = nn.Conv2d(inputs + features.shape[1], channels, 1)
        self.blocks = nn.ModuleList(ResidualBlock(channels, config.style) for _ in range(blocks))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return [B, channels, size, size] for x [B, inputs, size, size]."""
        x = self.entry(torch.cat([x, self.coordinates.expand(len(x), -1, -1, -1)], dim=1))
        for block in self.blocks:
            x = block(x, style)
        return x


class PictureDecoder(nn.Module):
    """Latent to picture."""

    def __init__(self, latent_dim: int, config: PictureConfig) -> None:
        super().__init__()
        self.config = config
        self.style = nn.Linear(latent_dim, config.style)
        self.stem = nn.Linear(latent_dim, config.stem * config.start**2)
        widths = (config.stem, *config.channels)
        self.stages = nn.ModuleList(
            Stage(widths[i], widths[i + 1], blocks, config.start * 2**i, config)
            for i, blocks in enumerate(config.blocks)
        )
        self.norm = StyleNorm(widths[-1], config.style)
        self.head = nn.Conv2d(widths[-1], 3 * config.shuffle**2, 3, padding=1, padding_mode="replicate")

    def forward(self, latents: Tensor) -> Tensor:
        """Return pictures float32 [B, 3, size, size] in [0, 1] for latents float32 [B, latent_dim]."""
        latents = latents.to(self.style.weight.dtype)
        style = functional.silu(self.style(latents))
        x = self.stem(latents).view(len(latents), self.config.stem, self.config.start, self.config.start)
        for index, stage in enumerate(self.stages):
            if index:
                x = functional.interpolate(x, scale_factor=2, mode="bilinear")
            x = stage(x, style)
        x = self.head(functional.silu(self.norm(x, style)))
        return torch.sigmoid(functional.pixel_shuffle(x.float(), self.config.shuffle))
