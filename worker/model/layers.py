"""The layered picture decoder: learned shapes in learned poses and colours, finished on a learned canvas.

A picture is composed as an artist would: layers from back to front, each a learned plane that the codes place (an
affine pose, as in spatial transformers, Jaderberg et al. 2015, https://arxiv.org/abs/1506.02025) and colour, after the
layered models of Monnier et al. 2021, https://arxiv.org/abs/2104.14575. Each style then looks that content up through
its own learned canvas, which says where to look and what the material does there, and a small network per style makes
the colour of each pixel. Every part is learned from pictures.

Input codes of B latents, output float32 [B, 3, size, size] in [0, 1]. Pixels do not depend on each other, so training
may ask for a few of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.model.codes import Codes
from worker.model.config import CodesConfig, LayersConfig

POSE = 6
"""Numbers of an affine map from the picture to a plane, row by row."""
COLORS = 9
"""Numbers of a layer's colours: at its middle, its change downwards, and what a shade of 1 adds."""
COVER_GAIN = 8.0
SHIFT_GAIN = 0.05
"""Units in which planes and canvases hold their values, so that one learning rate suits all."""
BLOT = 0.05
"""Standard deviation of untrained planes."""


@dataclass(frozen=True, slots=True)
class Painting:
    """P pixels of B pictures, and what they were made of."""

    picture: Tensor
    """float32 [B, P, 3] in [0, 1]."""
    content: Tensor
    """float32 [B, P, 3]: before its style is applied."""
    cover: Tensor
    """float32 [B, layers, P]: logits of how far each layer covers the pixel."""
    poses: Tensor
    """float32 [B, layers, 6]."""


class Experts(nn.Module):
    """Two linear maps with a SiLU between, with weights of their own for each of some experts."""

    def __init__(self, experts: int, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(experts, inputs, width))
        self.up_bias = nn.Parameter(torch.empty(experts, 1, width))
        self.down = nn.Parameter(torch.empty(experts, width, outputs))
        self.down_bias = nn.Parameter(torch.empty(experts, 1, outputs))

    def forward(self, x: Tensor, expert: Tensor) -> Tensor:
        """Return [B, outputs] for x [B, inputs] and expert int64 [B]."""
        inner = functional.silu(torch.baddbmm(self.up_bias[expert], x[:, None], self.up[expert]))
        return torch.baddbmm(self.down_bias[expert], inner, self.down[expert])[:, 0]


class Finish(nn.Module):
    """The material of each style: a network of two hidden layers on every pixel, its first bias made from the codes."""

    def __init__(self, styles: int, inputs: int, features: int, width: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.empty(styles, features, width))
        self.first = nn.Parameter(torch.empty(styles, inputs, width))
        self.second = nn.Parameter(torch.empty(styles, width, width))
        self.second_bias = nn.Parameter(torch.empty(styles, 1, width))
        self.last = nn.Parameter(torch.empty(styles, width, 3))
        self.last_bias = nn.Parameter(torch.empty(styles, 1, 3))

    def forward(self, x: Tensor, features: Tensor, style: Tensor) -> Tensor:
        """Return colours [B, P, 3] for x [B, P, inputs], features [B, F] and style int64 [B]."""
        x, features = x.to(self.first.dtype), features.to(self.first.dtype)
        bias = features[:, None] @ self.codes[style]
        x = functional.relu(torch.baddbmm(bias, x, self.first[style]))
        x = functional.relu(torch.baddbmm(self.second_bias[style], x, self.second[style]))
        return torch.baddbmm(self.last_bias[style], x, self.last[style]).float()


class LayeredPicture(nn.Module):
    """Codes to picture."""

    def __init__(self, codes: CodesConfig, config: LayersConfig) -> None:
        super().__init__()
        self.config = config
        sizes = dict(codes.choices)
        scenes, styles, layers = sizes[config.scene], sizes[config.style], len(config.layers)
        self.planes = nn.Parameter(torch.empty(scenes, layers, config.shapes(codes), 2, config.plane, config.plane))
        self.canvases = nn.Parameter(torch.empty(styles, config.size, config.size, 2 + config.textures))
        self.poses = Experts(scenes, codes.features, config.pose_width, layers * POSE)
        self.colors = Experts(scenes, codes.features, config.color_width, layers * COLORS)
        self.finish = Finish(styles, 3 + 2 + config.textures, codes.features, config.finish_width)

    def initialize(self, generator: torch.Generator) -> None:
        """Fill the weights with random values, drawn in float64: soft blots in calm colours."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        for name, parameter in self.named_parameters():
            if "bias" in name:
                parameter.zero_()
            else:
                parameter.copy_(normal(*parameter.shape) / math.sqrt(parameter.shape[-2]))
        blots = normal(self.planes[..., 0, 0].numel(), 1, 5, 5) * BLOT
        side = self.config.plane
        self.planes.copy_(functional.interpolate(blots, (side, side), mode="bilinear").view(self.planes.shape))
        self.canvases.copy_(0.1 * normal(*self.canvases.shape))
        self.canvases[..., :2] = 0
        self.poses.down.mul_(0.1)
        self.colors.down.mul_(0.3)
        self.finish.last.mul_(0.1)
        layers = len(self.config.layers)
        self.poses.down_bias.copy_(torch.tensor([0.9, 0.0, 0.0, 0.0, 0.9, 0.0]).repeat(layers))
        self.colors.down_bias.copy_(torch.tensor([0.5] * 3 + [0.0] * 6).repeat(layers))

    def forward(self, codes: Codes) -> Tensor:
        """Return pictures float32 [B, 3, size, size] in [0, 1]."""
        size = self.config.size
        pixels = torch.arange(size * size, device=codes.values.device).expand(len(codes.values), -1)
        picture = self.paint(codes, pixels // size, pixels % size).picture
        return picture.transpose(1, 2).reshape(-1, 3, size, size)

    def paint(self, codes: Codes, rows: Tensor, columns: Tensor) -> Painting:
        """Return the pixels at int64 ``rows`` and ``columns`` [B, P]."""
        size = self.config.size
        x, y = (columns.float() + 0.5) / size * 2 - 1, (rows.float() + 0.5) / size * 2 - 1
        canvas = self._canvas(codes, rows, columns)
        seen_x = (x + SHIFT_GAIN * canvas[..., 0]) * (1 - 2 * codes.choices[self.config.mirror][:, None])
        seen_y = y + SHIFT_GAIN * canvas[..., 1]
        content, edges, cover, poses = self._compose(codes, seen_x, seen_y)
        border = torch.maximum(x.abs(), y.abs())
        inputs = torch.cat([content, edges[..., None], border[..., None], canvas[..., 2:]], dim=-1)
        picture = content + self.finish(inputs, codes.features, codes.choices[self.config.style])
        return Painting(picture.clamp(0, 1) if not self.training else picture, content, cover, poses)

    def _canvas(self, codes: Codes, rows: Tensor, columns: Tensor) -> Tensor:
        """Return [B, P, 2 + textures]: the canvas of the style, shifted by the first two values."""
        size = self.config.size
        shift = (codes.values[:, :2] * size).long().clamp(max=size - 1)
        index = (rows + shift[:, :1]) % size * size + (columns + shift[:, 1:]) % size
        index = index + codes.choices[self.config.style][:, None] * size * size
        return functional.embedding(index, self.canvases.flatten(0, 2))

    def _compose(self, codes: Codes, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return content [B, P, 3], edges [B, P], cover logits [B, L, P] and poses [B, L, 6] at x and y [B, P]."""
        batch, pixels = x.shape
        scene, layers = codes.choices[self.config.scene], len(self.config.layers)
        poses = self.poses(codes.features, scene).view(batch, layers, 2, 3)
        points = torch.stack([x, y, torch.ones_like(x)], dim=1)
        places = (poses.flatten(1, 2) @ points).view(batch * layers, 2, 1, pixels).permute(0, 2, 3, 1)
        chosen = torch.stack([codes.choices[name] for name in self.config.layers], dim=1)
        planes = self.planes[scene[:, None], torch.arange(layers, device=x.device), chosen]
        sampled = functional.grid_sample(
            planes.flatten(0, 1), places, mode="bilinear", padding_mode="border", align_corners=False
        ).view(batch, layers, 2, pixels)
        cover = COVER_GAIN * sampled[:, :, 0]
        colors = self.colors(codes.features, scene).view(batch, layers, 3, 3)
        inks = torch.stack(
            [torch.ones_like(sampled[:, :, 0]), y[:, None].expand(-1, layers, -1), sampled[:, :, 1]], dim=-1
        )
        shades = inks @ colors
        over = torch.sigmoid(cover)
        content, edges = shades[:, 0], torch.zeros_like(x)
        for layer in range(1, layers):
            share = over[:, layer]
            content = content + share[..., None] * (shades[:, layer] - content)
            edges = edges * (1 - share) + 4 * share * (1 - share)
        return content, edges, cover, poses.flatten(2)
