"""What several scenes under the sky share: clouds, the sun and the moon, birds."""

from __future__ import annotations

import torch
from torch import Tensor

from checkpoints.train.layer import Layer, Pair, Pose
from checkpoints.train.shapes import circle, cut, full, segment, soft, union


def clouds(seed: int, height: float) -> Layer:
    """Return a sky with three banks of clouds from ``height`` downwards."""

    def shape(x: Tensor, y: Tensor) -> Pair:
        bank = torch.zeros_like(x)
        for i in range(3):
            cy = height + 0.27 * i + 0.06 * torch.sin(2.1 * x + seed + 2.4 * i)
            length = 0.55 + 0.45 * torch.sin(2.9 * x + 1.3 * seed + 2.1 * i)
            bank = torch.maximum(bank, length.clamp(0, 1) * (1 - ((y - cy) / 0.085) ** 2).clamp(0, 1))
        return full(x), bank - 0.15

    return Layer(shape, "sky_top sky_low cloud 0.55", Pose(sx=1.3, dx=0.25, link=5))


def _sun(x: Tensor, y: Tensor) -> Pair:
    r = torch.hypot(x, y)
    return r - 0.62, soft(r - 0.45, 0.6) - 0.4


def _sun_with_rays(x: Tensor, y: Tensor) -> Pair:
    angle = torch.atan2(y, x)
    rays = 0.66 + 0.26 * (torch.cos(6 * angle)).clamp(min=0) ** 2
    r = torch.hypot(x, y)
    return (r - rays) * 0.8, soft(r - 0.5, 0.15) - 0.5


def _crescent(x: Tensor, y: Tensor) -> Pair:
    return cut(circle(x, y, 0, 0, 0.7), circle(x, y, 0.34, -0.2, 0.58)), torch.zeros_like(x)


LIGHTS = (
    Layer(_sun, "glow glow light 0.5", Pose(cx=-0.35, cy=-0.3, sx=0.24, sy=0.24, dx=0.4, dy=0.12, link=0)),
    Layer(_sun_with_rays, "glow glow light 0.6", Pose(cx=0.3, cy=-0.62, sx=0.28, sy=0.28, dx=0.45, dy=0.1, link=0)),
    Layer(_sun, "red glow light 0.35", Pose(cx=0.25, cy=-0.18, sx=0.34, sy=0.34, dx=0.45, dy=0.1, link=0)),
    Layer(_crescent, "light light light 0", Pose(cx=0.0, cy=-0.6, sx=0.25, sy=0.25, dx=0.6, dy=0.14, link=0)),
)


def birds(x: Tensor, y: Tensor) -> Pair:
    """Five birds on the wing."""
    parts = []
    for cx, cy, s in ((-0.6, 0.1, 0.3), (-0.05, -0.35, 0.36), (0.55, 0.05, 0.3), (0.2, 0.5, 0.22), (-0.25, 0.6, 0.2)):
        for side in (-1, 1):
            wing = [(cx, cy), (cx + side * s * 0.5, cy - 0.45 * s), (cx + side * s, cy - 0.1 * s)]
            parts += [segment(x, y, wing[0], wing[1], 0.035), segment(x, y, wing[1], wing[2], 0.025)]
    return union(*parts), torch.zeros_like(x)
