"""A seascape: water, a coast, surf, and a boat, a lighthouse or an island."""

from __future__ import annotations

import torch
from torch import Tensor

from checkpoints.train.layer import EMPTY, Layer, Pair, Pose
from checkpoints.train.scenes.sky import LIGHTS, birds, clouds
from checkpoints.train.shapes import below, box, ellipse, polygon, ridge, segment, soft, triangle_wave, union, wave


def _sea(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        depth = (y - 0.06).clamp(min=0)
        crests = wave(x, y, 1.5, 0, seed) + torch.sin(70 * depth / (0.35 + depth) + 2.0 * torch.sin(2.2 * x + seed))
        return below(y, torch.full_like(x, 0.06)), 0.33 * crests * soft(0.05 - depth, 0.2)

    return Layer(shape, "far near mist 0.55", Pose(sx=1.3, dx=0.25, dy=0.1, link=3))


def _surf(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        profile = 0.74 + 0.09 * torch.sin(2.4 * x + seed) + 0.05 * wave(x, y, 7, 0, seed).abs()
        depth = y - profile
        return below(y, profile), soft(depth - 0.05, 0.05) + 0.25 * wave(x, depth, 5, 24) * soft(0.08 - depth, 0.1)

    return Layer(shape, "near dark light 0.85", Pose(sx=1.3, dx=0.3, dy=0.06, link=5))


def _coast(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        land = soft(triangle_wave(x, 2.9, 0.23 * seed + 0.1) - 0.2, 0.9)
        profile = 0.1 - land * (0.24 + 0.35 * ridge(x, seed + 2))
        return below(y, profile), 0.3 * triangle_wave(x + 0.3 * y, 0.31, 0.2)

    return Layer(shape, "far mist near 0.4", Pose(sx=1.3, dx=0.3, dy=0.1, link=3))


def _hull(x: Tensor, y: Tensor) -> Pair:
    hull = polygon(x, y, [(-0.75, 0.55), (0.8, 0.5), (0.5, 0.85), (-0.5, 0.85)])
    mast = segment(x, y, (0.0, -0.9), (0.0, 0.6), 0.022)
    return union(hull, mast), 0.5 * soft((y - 0.62).abs() - 0.035, 0.03)


def _sails(x: Tensor, y: Tensor) -> Pair:
    main = polygon(x, y, [(0.05, -0.88), (0.68, 0.4), (0.05, 0.42)])
    jib = polygon(x, y, [(-0.05, -0.66), (-0.05, 0.42), (-0.58, 0.42)])
    return union(main, jib), 0.9 * soft(x, 0.05) - 0.35 + 0.25 * y


def _rocks(x: Tensor, y: Tensor) -> Pair:
    profile = 0.45 + 0.5 * x.abs() ** 1.5 + 0.12 * triangle_wave(x, 0.37, 0.2)
    return torch.maximum(below(y, profile), y - 0.9), 0.6 * triangle_wave(x + 0.6 * y, 0.4, 0.3)


def _tower(x: Tensor, y: Tensor) -> Pair:
    tower = polygon(x, y, [(-0.13, -0.5), (0.13, -0.5), (0.2, 0.6), (-0.2, 0.6)])
    stripes = torch.sign(torch.sin(9.5 * (y + 0.45)))
    return tower, 0.75 * stripes * soft(-(y + 0.45), 0.02)


def _lantern(x: Tensor, y: Tensor) -> Pair:
    room = union(box(x, y, 0, -0.58, 0.1, 0.1), polygon(x, y, [(0, -0.92), (0.17, -0.66), (-0.17, -0.66)]))
    beam = polygon(x, y, [(0.05, -0.58), (0.95, -0.82), (0.95, -0.42)])
    return union(room, beam, box(x, y, 0, -0.49, 0.19, 0.03)), soft((y + 0.58).abs() - 0.2, 0.1) - 0.3


def _isle(x: Tensor, y: Tensor) -> Pair:
    return torch.maximum(ellipse(x, y, 0, 0.75, 0.95, 0.32), y - 0.8), 0.7 * (0.75 - y) - 0.1


def _palm_trunks(x: Tensor, y: Tensor) -> Pair:
    bend = 0.25 * (0.6 - y) ** 2
    one = torch.maximum((x + 0.15 - bend).abs() - 0.035, (y + 0.05).abs() - 0.6)
    two = torch.maximum((x - 0.2 + 0.8 * bend).abs() - 0.03, (y - 0.18).abs() - 0.4)
    return union(one, two), 0.4 * wave(x, y, 0, 45)


def _palm_leaves(x: Tensor, y: Tensor) -> Pair:
    leaves = []
    for cx, cy, s in ((-0.02, -0.63, 0.55), (0.08, -0.2, 0.42)):
        for dx, dy in ((-1, 0.35), (-0.75, -0.25), (0.0, -0.55), (0.8, -0.25), (1, 0.35)):
            leaves.append(segment(x, y, (cx, cy), (cx + 0.75 * s * dx, cy + 0.75 * s * dy), 0.05))
            leaves.append(
                segment(x, y, (cx + 0.7 * s * dx, cy + 0.7 * s * dy), (cx + s * dx, cy + s * (dy + 0.28)), 0.035)
            )
    return union(*leaves), 0.6 * wave(x, y, 17, 9)


def _glitter(x: Tensor, y: Tensor) -> Pair:
    width = 0.25 + 0.55 * (y + 1) / 2
    row = torch.sin(21 * y) + 0.5
    return torch.maximum(
        x.abs() - width * row.clamp(0, 1), torch.maximum(-row * 0.05, y.abs() - 0.97)
    ), torch.zeros_like(x)


GLITTER = Pose(cy=0.55, sx=0.22, sy=0.42, dx=0.4, link=0)

BOAT = Pose(cx=0.0, cy=0.1, sx=0.5, sy=0.56, dx=0.42, dy=0.12, link=6)
BEACON = Pose(cx=-0.25, cy=-0.02, sx=0.62, sy=0.72, dx=0.35, dy=0.08, link=6)
ISLAND = Pose(cx=0.1, cy=0.0, sx=0.62, sy=0.6, dx=0.35, dy=0.08, link=6)

SEA = (
    tuple(clouds(seed + 4, -0.82 + 0.09 * seed) for seed in range(4)),
    LIGHTS,
    tuple(_coast(seed) for seed in range(4)),
    tuple(_sea(seed) for seed in range(4)),
    (
        Layer(_hull, "wood dark light 0.8", BOAT),
        Layer(_rocks, "dark mid mid 0.6", BEACON),
        Layer(_isle, "wood light dark 0.5", ISLAND),
        Layer(_glitter, "glow light light 0.3", GLITTER),
    ),
    tuple(_surf(seed) for seed in range(4)),
    (
        Layer(_sails, "light cloud accent 0.8", BOAT),
        Layer(_tower, "cloud cloud accent 0.9", BEACON),
        Layer(_palm_trunks, "wood dark dark 0.4", ISLAND),
        Layer(birds, "light light light 0", Pose(cx=-0.1, cy=-0.15, sx=0.62, sy=0.5, dx=0.3, dy=0.12, link=6)),
    ),
    (
        EMPTY,
        Layer(_lantern, "glow light light 0.5", BEACON),
        Layer(_palm_leaves, "near mid dark 0.5", ISLAND),
        Layer(birds, "dark dark dark 0", Pose(cx=0.3, cy=-0.5, sx=0.34, sy=0.26, dx=0.4, dy=0.12, link=7)),
    ),
)
