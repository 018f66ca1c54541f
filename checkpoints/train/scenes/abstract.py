"""An abstract composition: discs, bars and arcs around one motif."""

from __future__ import annotations

import torch
from torch import Tensor

from checkpoints.train.layer import EMPTY, Layer, Pair, Pose
from checkpoints.train.shapes import box, circle, full, polygon, soft, union, wave


def _field(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        return full(x), torch.sign(torch.sin(2.2 * x * (seed - 1.5) + 3 * y + seed)) * 0.5 + 0.2 * wave(x, y, 4, -3)

    return Layer(
        shape,
        ("sky_top sky_low cloud 0.35", "cloud mist far 0.35", "far mid mist 0.35", "sky_low cloud light 0.35")[seed],
        Pose(sx=1.2, sy=1.2, dx=0.2, link=5),
    )


def _disc(colors: str, cx: float, cy: float, s: float) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        r = torch.hypot(x, y)
        return r - 0.9, 0.8 * torch.sign(torch.sin(11 * r)) * soft(r - 0.62, 0.04)

    return Layer(shape, colors, Pose(cx=cx, cy=cy, sx=s, sy=s, dx=0.35, dy=0.2, zoom=0.25, link=0))


def _bar(seed: int, colors: str, link: int, size: float) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        if seed == 0:
            bar = union(box(x, y, 0, 0, 0.95, 0.1), box(x, y, 0.3, 0, 0.07, 0.7))
        elif seed == 1:
            bar = torch.maximum(circle(x, y, 0, 0.3, 0.9), circle(x, y, 0, 0.3, 0.9).neg() - 0.2)
        elif seed == 2:
            bar = polygon(x, y, [(-0.9, 0.7), (0.0, -0.85), (0.9, 0.7)])
        else:
            bar = union(*(box(x, y, -0.75 + 0.5 * i, 0, 0.1, 0.8 - 0.15 * i) for i in range(4)))
        return bar, 0.6 * wave(x, y, 2.5, 2)

    return Layer(
        shape,
        colors,
        Pose(
            cx=(-0.3, 0.3, 0.25, -0.2)[seed],
            cy=(0.3, -0.3, 0.1, -0.25)[seed],
            sx=size,
            sy=size,
            dx=0.35,
            dy=0.3,
            zoom=0.25,
            turn=0.6,
            link=link,
        ),
    )


def _circles(x: Tensor, y: Tensor) -> Pair:
    rings = [circle(x, y, cx, cy, r) for cx, cy, r in ((-0.4, -0.2, 0.5), (0.35, -0.3, 0.42), (0.05, 0.4, 0.5))]
    depth = sum((soft(ring, 0.03) for ring in rings), torch.zeros_like(x))
    return union(*rings), 0.7 * (depth - 1.6)


def _triangles(x: Tensor, y: Tensor) -> Pair:
    parts = [
        polygon(x, y, [(-0.9, 0.4), (-0.45, -0.8), (0.0, 0.4)]),
        polygon(x, y, [(0.05, 0.8), (0.3, -0.5), (0.9, 0.6)]),
        polygon(x, y, [(-0.3, -0.95), (0.5, -0.9), (0.2, -0.35)]),
    ]
    return union(*parts), 0.8 * torch.sign(wave(x, y, 4, 5))


def _squares(x: Tensor, y: Tensor) -> Pair:
    parts = [
        box(x, y, cx, cy, s, s)
        for cx, cy, s in ((-0.5, -0.4, 0.35), (0.4, 0.35, 0.42), (0.5, -0.55, 0.22), (-0.45, 0.55, 0.25))
    ]
    inner = union(box(x, y, -0.5, -0.4, 0.2, 0.2), box(x, y, 0.4, 0.35, 0.25, 0.25))
    return union(*parts), 0.9 * soft(inner, 0.03) - 0.2


def _curves(x: Tensor, y: Tensor) -> Pair:
    lines = [(y + 0.5 - 0.5 * i + 0.25 * torch.sin(4 * x + 1.1 * i)).abs() * 0.8 - 0.045 for i in range(3)]
    return torch.maximum(union(*lines), x.abs() - 0.95), 0.6 * wave(x, y, 3, 0)


MAIN = Pose(cx=-0.1, cy=0.05, sx=0.62, sy=0.62, dx=0.25, dy=0.2, zoom=0.2, turn=0.4, link=6)
ECHO = Pose(cx=0.4, cy=-0.4, sx=0.34, sy=0.34, dx=0.3, dy=0.2, zoom=0.2, turn=0.8, link=7)
MOTIFS = (_circles, _triangles, _squares, _curves)

ABSTRACT = (
    tuple(_field(seed) for seed in range(4)),
    (
        _disc("glow light accent 0.5", -0.3, -0.3, 0.5),
        _disc("accent glow light 0.6", 0.3, -0.35, 0.42),
        _disc("accent2 mid glow 0.5", 0.0, 0.3, 0.6),
        _disc("dark near light 0.6", -0.25, 0.3, 0.5),
    ),
    tuple(_bar(seed, "mid far light 0.4", 2, 0.7) for seed in range(4)),
    tuple(_bar((seed + 1) % 4, "dark near accent 0.3", 3, 0.5) for seed in range(4)),
    tuple(Layer(motif, "accent2 far light 0.6", ECHO) for motif in MOTIFS),
    tuple(_bar((seed + 2) % 4, "near accent2 light 0.4", 4, 0.34) for seed in range(4)),
    tuple(Layer(motif, "accent red light 0.6", MAIN) for motif in MOTIFS),
    (EMPTY, EMPTY, EMPTY, EMPTY),
)
