"""Signed distances of simple shapes, the alphabet in which the scenes are written.

Coordinates run right and down; a distance is negative inside. All take and return tensors of one shape and are only
roughly Euclidean: they are used near their edge. Formulas after Inigo Quilez, https://iquilezles.org/articles/distfunctions2d/
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FAR = 9.0


def circle(x: Tensor, y: Tensor, cx: float = 0.0, cy: float = 0.0, r: float = 1.0) -> Tensor:
    """A disc."""
    return torch.hypot(x - cx, y - cy) - r


def ellipse(x: Tensor, y: Tensor, cx: float, cy: float, a: float, b: float) -> Tensor:
    """An ellipse of half axes a and b."""
    return (torch.hypot((x - cx) / a, (y - cy) / b) - 1) * min(a, b)


def box(x: Tensor, y: Tensor, cx: float, cy: float, w: float, h: float) -> Tensor:
    """A rectangle of half width w and half height h."""
    return torch.maximum((x - cx).abs() - w, (y - cy).abs() - h)


def polygon(x: Tensor, y: Tensor, points: Sequence[tuple[float, float]]) -> Tensor:
    """A convex polygon, its corners given clockwise on the screen."""
    distance = torch.full_like(x, -FAR)
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        length = math.hypot(bx - ax, by - ay)
        distance = torch.maximum(distance, ((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length)
    return distance


def segment(x: Tensor, y: Tensor, a: tuple[float, float], b: tuple[float, float], r: float) -> Tensor:
    """A line from a to b with round ends and half width r."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = (((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    return torch.hypot(x - a[0] - t * dx, y - a[1] - t * dy) - r


def union(*distances: Tensor) -> Tensor:
    """All of them."""
    result = distances[0]
    for distance in distances[1:]:
        result = torch.minimum(result, distance)
    return result


def cut(distance: Tensor, *others: Tensor) -> Tensor:
    """The first without the others."""
    for other in others:
        distance = torch.maximum(distance, -other)
    return distance


def below(y: Tensor, profile: Tensor) -> Tensor:
    """All that lies under the profile, which is a height for each x."""
    return (profile - y) * 0.75


def triangle_wave(x: Tensor, period: float, phase: float) -> Tensor:
    """A zigzag in [-1, 1]."""
    return 4 * ((x / period + phase) % 1 - 0.5).abs() - 1


def ridge(x: Tensor, seed: int, rough: float = 1.0) -> Tensor:
    """A mountain profile around 0: zigzags of falling size."""
    a, b, c = (0.37 * seed) % 1, (0.61 * seed + 0.2) % 1, (0.83 * seed + 0.4) % 1
    return (
        0.22 * triangle_wave(x, 1.31, a)
        + 0.11 * triangle_wave(x, 0.53, b)
        + rough * (0.05 * triangle_wave(x, 0.23, c) + 0.022 * triangle_wave(x, 0.107, a + b))
    )


def hills(x: Tensor, seed: int) -> Tensor:
    """A soft profile around 0."""
    return 0.1 * torch.sin(2.6 * x + 1.7 * seed) + 0.045 * torch.sin(6.1 * x + 2.9 * seed)


def table(index: Tensor, values: Sequence[float]) -> Tensor:
    """Look up values by a float index, which is rounded down and repeated."""
    return torch.tensor(values, device=index.device)[index.floor().long() % len(values)]


def wave(x: Tensor, y: Tensor, fx: float, fy: float, phase: float = 0.0) -> Tensor:
    """A plane sine wave in [-1, 1]."""
    return torch.sin(fx * x + fy * y + phase)


def soft(distance: Tensor, width: float) -> Tensor:
    """1 inside, 0 outside, with a soft edge of that width."""
    return (0.5 - distance / width).clamp(0, 1)


def ball(x: Tensor, y: Tensor, cx: float, cy: float, r: float) -> Tensor:
    """The tone of a ball lit from the upper left."""
    return (0.55 - torch.hypot(x - cx + 0.4 * r, y - cy + 0.45 * r) / r).clamp(-0.75, 0.6)


def full(x: Tensor) -> Tensor:
    """Everywhere inside."""
    return torch.full_like(x, -FAR)
