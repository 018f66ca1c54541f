"""One layer of a scene: a shape, its colours, where it stands, and how it may move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""Signed distance, negative inside, and shade, a signed tone; each of the shape of the coordinates."""

Shape = Callable[[Tensor, Tensor], Pair]
"""Coordinates in the layer's own frame to distance and shade."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a layer stands: its frame's [-1, 1] square covers ``sx`` by ``sy`` half pictures around ``cx, cy``."""

    cx: float = 0.0
    cy: float = 0.0
    sx: float = 1.0
    sy: float = 1.0
    dx: float = 0.0
    """Reach of the horizontal movement, likewise ``dy`` of the vertical one."""
    dy: float = 0.0
    zoom: float = 0.12
    """Reach of the relative change of size."""
    turn: float = 0.0
    """Reach of the rotation in radians."""
    link: int = 0
    """Layers of equal link move together."""


STILL = Pose(zoom=0.0)


@dataclass(frozen=True, slots=True)
class Layer:
    """What is drawn where."""

    shape: Shape
    colors: str = "near near near 0"
    """Anchors of the palette: at the top of the picture, at its bottom, and the tone's with its strength."""
    pose: Pose = STILL


def _nothing(x: Tensor, y: Tensor) -> Pair:
    return torch.full_like(x, 9.0), torch.zeros_like(y)


EMPTY = Layer(_nothing)
