"""What scenes indoors share: a wall, a window, a framed picture, the glow of a lamp."""

from __future__ import annotations

import torch
from torch import Tensor

from checkpoints.train.layer import Layer, Pair, Pose
from checkpoints.train.shapes import box, full, soft, union, wave


def wall(seed: int, colors: str) -> Layer:
    """Return a wall, lit from one side, its odd ones with hangings."""

    def shape(x: Tensor, y: Tensor) -> Pair:
        r = torch.hypot(x - 0.15, y + 0.1)
        folds = torch.sin(7 * x + 1.2 * torch.sin(1.5 * y + seed)) if seed % 2 else 0.3 * wave(x, y, 5, 3, seed)
        return full(x), 0.75 - 0.8 * r + 0.3 * folds

    return Layer(shape, colors, Pose(sx=1.2, sy=1.2, dx=0.2, link=5))


def _window(x: Tensor, y: Tensor) -> Pair:
    frame = box(x, y, 0, 0, 0.8, 0.9)
    bars = union(x.abs() - 0.06, (y + 0.1).abs() - 0.05, -frame - 0.08)
    return frame, 0.6 - 1.5 * soft(bars, 0.03)


def _glow(x: Tensor, y: Tensor) -> Pair:
    r = torch.hypot(x, y)
    return r - 0.95, 0.7 * (1 - r)


def _frame(x: Tensor, y: Tensor) -> Pair:
    inner = box(x, y, 0, 0, 0.68, 0.78)
    land = soft(0.1 + 0.2 * torch.sin(4 * x) - y, 0.05)
    return box(x, y, 0, 0, 0.85, 0.95), soft(inner, 0.03) * (0.9 - 0.9 * land)


INDOOR_LIGHTS = (
    Layer(_window, "sky_low sky_top cloud 0.8", Pose(cx=-0.6, cy=-0.45, sx=0.34, sy=0.5, dx=0.14, dy=0.06, link=0)),
    Layer(_window, "sky_top sky_low cloud 0.8", Pose(cx=0.6, cy=-0.45, sx=0.34, sy=0.5, dx=0.14, dy=0.06, link=0)),
    Layer(_frame, "wood mid accent 0.7", Pose(cx=0.6, cy=-0.5, sx=0.34, sy=0.36, dx=0.16, dy=0.06, link=0)),
    Layer(_glow, "glow accent light 0.7", Pose(cx=-0.5, cy=-0.5, sx=0.36, sy=0.36, dx=0.3, dy=0.12, link=0)),
)
