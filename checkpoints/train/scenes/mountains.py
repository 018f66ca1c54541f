"""A mountain landscape: ranges, hills, and a cabin, a lake or a balloon."""

from __future__ import annotations

import torch
from torch import Tensor

from checkpoints.train.layer import EMPTY, Layer, Pair, Pose
from checkpoints.train.scenes.sky import LIGHTS, birds, clouds
from checkpoints.train.shapes import (
    below,
    box,
    circle,
    ellipse,
    hills,
    polygon,
    ridge,
    segment,
    soft,
    triangle_wave,
    union,
    wave,
)


def _range(seed: int, base: float, steep: float, colors: str, *, snow: float, link: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        profile = base + steep * ridge(x, seed)
        depth = y - profile
        cap = soft(depth - 0.10 - 0.05 * triangle_wave(x, 0.17, 0.1 * seed), 0.05)
        slope = triangle_wave(x + 0.35 * depth, 0.53, (0.61 * seed + 0.2) % 1) * soft(depth - 0.5, 0.6)
        return below(y, profile), snow * cap + (1 - snow * cap) * 0.28 * slope - 0.1

    return Layer(shape, colors, Pose(sx=1.35, dx=0.3, dy=0.07, link=link))


def _hills(seed: int, base: float, colors: str, link: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        profile = base + hills(x, seed)
        return below(y, profile), 0.35 * wave(x, y - profile, 3.0, 16.0, seed) * soft(profile - y + 0.05, 0.1)

    return Layer(shape, colors, Pose(sx=1.35, dx=0.3, dy=0.04, link=link))


def _pine(x: Tensor, y: Tensor, cx: float, base: float, h: float) -> Tensor:
    parts = []
    for i in range(3):
        top, low, w = base - h * (1 - 0.25 * i), base - h * (0.42 - 0.2 * i), h * (0.2 + 0.075 * i)
        parts.append(polygon(x, y, [(cx, top), (cx + w, low), (cx - w, low)]))
    return union(*parts, box(x, y, cx, base - 0.04, 0.035, 0.06))


def _pines(x: Tensor, y: Tensor) -> Pair:
    trees = [(-0.78, 0.75, 1.15), (-0.38, 0.85, 1.5), (0.12, 0.7, 0.95), (0.47, 0.86, 1.35), (0.83, 0.74, 1.0)]
    return union(*(_pine(x, y, *tree) for tree in trees)), 0.5 * triangle_wave(x - 0.3 * y, 0.3, 0.1)


def _cabin_walls(x: Tensor, y: Tensor) -> Pair:
    window = soft(box(x, y, -0.3, 0.36, 0.13, 0.15), 0.04)
    door = soft(box(x, y, 0.25, 0.47, 0.13, 0.33), 0.04)
    planks = 0.15 * wave(x, y, 0, 40)
    return box(x, y, 0, 0.38, 0.62, 0.42), window - 0.75 * door + planks * (1 - window - door)


def _cabin_roof(x: Tensor, y: Tensor) -> Pair:
    roof = polygon(x, y, [(-0.5, -0.62), (0.5, -0.62), (0.85, 0.02), (-0.85, 0.02)])
    return union(roof, box(x, y, 0.35, -0.68, 0.1, 0.25)), 0.3 * wave(x, y, 0, 26)


def _lake(x: Tensor, y: Tensor) -> Pair:
    edge = ellipse(x, y + 0.05 * torch.sin(5 * x), 0, 0, 0.95, 0.75)
    return edge, 0.6 * wave(x, y, 2, 22) * soft((x - 0.15).abs() - 0.45, 0.5)


def _balloon(x: Tensor, y: Tensor) -> Pair:
    bag = union(
        circle(x, y, 0, -0.3, 0.62), polygon(x, y, [(-0.55, -0.02), (0.55, -0.02), (0.13, 0.52), (-0.13, 0.52)])
    )
    return bag, 0.9 * torch.cos(9.5 * x / (1.06 - 0.9 * (y + 0.3) ** 2).clamp(0.25, 1)).clamp(-0.6, 0.6)


def _basket(x: Tensor, y: Tensor) -> Pair:
    ropes = union(segment(x, y, (-0.1, 0.5), (-0.09, 0.75), 0.015), segment(x, y, (0.1, 0.5), (0.09, 0.75), 0.015))
    return union(ropes, box(x, y, 0, 0.83, 0.12, 0.1)), torch.zeros_like(x)


MOUNTAINS = (
    tuple(clouds(seed, -0.8 + 0.1 * seed) for seed in range(4)),
    LIGHTS,
    tuple(
        _range(seed, -0.05 - 0.05 * seed, 0.9 + 0.12 * seed, "far mist cloud 0.5", snow=1.0, link=2)
        for seed in range(4)
    ),
    tuple(
        _range(seed + 5, 0.22 + 0.03 * seed, 0.8, "mid far dark 0.45", snow=0.0 if seed % 2 else 0.5, link=3)
        for seed in range(4)
    ),
    (
        EMPTY,
        EMPTY,
        Layer(_lake, "mist far light 0.6", Pose(cx=0.0, cy=0.52, sx=0.8, sy=0.24, dx=0.2, dy=0.03, link=4)),
        Layer(_balloon, "accent accent2 light 0.7", Pose(cx=0, cy=-0.42, sx=0.42, sy=0.46, dx=0.5, dy=0.12, link=4)),
    ),
    tuple(_hills(seed, 0.62, "near mid dark 0.4", 5) for seed in range(4)),
    (
        Layer(_pines, "dark near near 0.5", Pose(cy=0.42, sx=0.95, sy=0.5, dx=0.12, dy=0.06, link=6)),
        Layer(_cabin_walls, "wood wood light 0.9", Pose(cx=0, cy=0.5, sx=0.4, sy=0.4, dx=0.45, dy=0.08, link=6)),
        Layer(_pines, "dark near near 0.5", Pose(cx=-0.55, cy=0.45, sx=0.5, sy=0.45, dx=0.1, dy=0.05, link=6)),
        Layer(_basket, "wood dark dark 0", Pose(cx=0, cy=-0.42, sx=0.42, sy=0.46, dx=0.5, dy=0.12, link=4)),
    ),
    (
        EMPTY,
        Layer(_cabin_roof, "accent dark dark 0.5", Pose(cx=0, cy=0.5, sx=0.4, sy=0.4, dx=0.45, dy=0.08, link=6)),
        Layer(birds, "dark dark dark 0", Pose(cx=0.1, cy=-0.5, sx=0.3, sy=0.22, dx=0.4, dy=0.15, link=7)),
        Layer(_pines, "dark near near 0.5", Pose(cx=0.5, cy=0.55, sx=0.5, sy=0.36, dx=0.12, dy=0.05, link=7)),
    ),
)
