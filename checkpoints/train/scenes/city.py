"""A city skyline: blocks with windows, a river, and a spire, a bridge, a clock tower or a dome."""

from __future__ import annotations

import torch
from torch import Tensor

from checkpoints.train.layer import EMPTY, Layer, Pair, Pose
from checkpoints.train.scenes.sky import LIGHTS, birds, clouds
from checkpoints.train.shapes import ball, below, box, circle, cut, ellipse, polygon, segment, soft, table, union, wave

HEIGHTS = (0.62, 0.3, 0.95, 0.48, 0.75, 0.2, 0.55, 0.85, 0.36, 0.68, 0.42, 1.0, 0.26, 0.58, 0.8, 0.33, 0.5)


def _blocks(seed: int, base: float, height: float, width: float, colors: str, lit: float, link: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        column = x / width + 3.3 * seed
        inner = column % 1
        top = base - height * table(column, HEIGHTS)
        gap = 0.06 * table(column + 5, HEIGHTS)
        wall = torch.maximum(top - y, ((inner - 0.5).abs() - 0.5 + gap) * width)
        pane = width / 3.2
        row, col = (y - top) / (pane * 1.25), (inner * 3.2 + 0.1)
        on = table(row.floor() * 7 + col.floor() * 3 + column.floor() * 5, HEIGHTS) > 0.55
        glass = soft(((col % 1) - 0.5).abs() - 0.24, 0.1) * soft(((row % 1) - 0.55).abs() - 0.24, 0.1)
        lights = glass * on * soft(top + 0.05 - y, 0.02)
        return wall, lit * lights - 0.12 + 0.2 * (inner - 0.5)

    return Layer(shape, colors, Pose(sx=1.35, dx=0.3, dy=0.06, link=link))


def _river(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        profile = torch.full_like(x, 0.68)
        streaks = wave(x, y, 23, 3, seed) * 0.5 + wave(x, y, 3, 45, seed) * 0.6
        return below(y, profile), 0.6 * streaks.clamp(-1, 1) * soft(0.7 - y, 0.1)

    return Layer(shape, "near dark glow 0.35", Pose(sx=1.3, dx=0.25, dy=0.05, link=5))


def _spire(x: Tensor, y: Tensor) -> Pair:
    nave = polygon(x, y, [(0.0, 0.25), (0.62, 0.25), (0.8, 0.55), (0.8, 1), (0.0, 1)])
    tower = box(x, y, -0.2, 0.45, 0.22, 0.55)
    arches = soft(torch.maximum((((x + 0.02) * 5.2) % 1 - 0.5).abs() - 0.2, (y - 0.78).abs() - 0.13), 0.06)
    return union(nave, tower), 0.8 * arches - 0.1


def _spire_top(x: Tensor, y: Tensor) -> Pair:
    roof = polygon(x, y, [(-0.2, -0.95), (0.06, -0.05), (-0.46, -0.05)])
    return union(roof, segment(x, y, (-0.2, -1.0), (-0.2, -0.8), 0.02)), 0.5 * soft(x + 0.2, 0.1) - 0.25


def _bridge(x: Tensor, y: Tensor) -> Pair:
    deck = box(x, y, 0, -0.1, 1.5, 0.12)
    arch = cut(box(x, y, 0, 0.4, 1.5, 0.5), ellipse((x + 1.5) % 0.75 - 0.375, y, 0, 0.95, 0.3, 0.8))
    return union(deck, arch), 0.4 * wave(x, y, 0, 24) * soft((y + 0.1).abs() - 0.12, 0.02)


def _lamps(x: Tensor, y: Tensor) -> Pair:
    inner = (x + 1.5) % 0.375 - 0.1875
    return union(box(inner, y, 0, -0.42, 0.014, 0.22), circle(inner, y, 0, -0.68, 0.06)), soft(y + 0.58, 0.05)


def _clock_tower(x: Tensor, y: Tensor) -> Pair:
    return union(box(x, y, 0, 0.3, 0.24, 0.7), box(x, y, 0, -0.32, 0.3, 0.22)), 0.4 * wave(x, y, 30, 0)


def _clock_face(x: Tensor, y: Tensor) -> Pair:
    hands = union(segment(x, y, (0, -0.32), (0.0, -0.46), 0.025), segment(x, y, (0, -0.32), (0.09, -0.27), 0.025))
    roof = polygon(x, y, [(0, -0.98), (0.32, -0.54), (-0.32, -0.54)])
    return union(circle(x, y, 0, -0.32, 0.18), roof), -0.9 * soft(union(hands, roof), 0.03)


def _dome_walls(x: Tensor, y: Tensor) -> Pair:
    columns = wave(x, y, 26, 0) * soft((y - 0.5).abs() - 0.22, 0.04)
    return union(box(x, y, 0, 0.6, 0.85, 0.42), box(x, y, 0, 0.12, 0.48, 0.14)), 0.6 * columns


def _dome(x: Tensor, y: Tensor) -> Pair:
    dome = torch.maximum(ellipse(x, y, 0, 0.02, 0.5, 0.62), y - 0.02)
    top = union(box(x, y, 0, -0.66, 0.08, 0.1), segment(x, y, (0, -0.98), (0, -0.7), 0.02))
    return union(dome, top), ball(x, y, 0, 0, 0.55)


SPIRE = Pose(cx=0.0, cy=0.18, sx=0.5, sy=0.62, dx=0.45, dy=0.05, link=6)
BRIDGE = Pose(cx=0.0, cy=0.66, sx=0.9, sy=0.3, dx=0.1, dy=0.04, link=6)
CLOCK = Pose(cx=0.0, cy=0.12, sx=0.62, sy=0.68, dx=0.5, dy=0.05, link=6)
DOME = Pose(cx=0.0, cy=0.2, sx=0.55, sy=0.6, dx=0.4, dy=0.05, link=6)

CITY = (
    tuple(clouds(seed + 8, -0.85 + 0.08 * seed) for seed in range(4)),
    LIGHTS,
    tuple(_blocks(seed, 0.45, 0.85, 0.21 + 0.02 * seed, "far mist mist 0.4", 0.5, 2) for seed in range(4)),
    tuple(_blocks(seed + 2, 0.8, 0.85, 0.27 + 0.02 * seed, "mid near glow 0.9", 1.0, 3) for seed in range(4)),
    (
        Layer(_spire, "wood near dark 0.6", SPIRE),
        EMPTY,
        Layer(_clock_tower, "wood near dark 0.4", CLOCK),
        Layer(_dome_walls, "cloud wood dark 0.5", DOME),
    ),
    tuple(_river(seed) for seed in range(4)),
    (
        Layer(_spire_top, "accent dark dark 0.5", SPIRE),
        Layer(_bridge, "wood dark light 0.4", BRIDGE),
        Layer(_clock_face, "light light dark 0.9", CLOCK),
        Layer(_dome, "accent2 accent2 light 0.6", DOME),
    ),
    (
        Layer(birds, "dark dark dark 0", Pose(cx=0.3, cy=-0.55, sx=0.3, sy=0.22, dx=0.4, dy=0.12, link=7)),
        Layer(_lamps, "dark dark glow 1", BRIDGE),
        Layer(_lamps, "dark dark glow 1", Pose(cy=0.8, sx=0.95, sy=0.3, dx=0.1, dy=0.03, link=7)),
        Layer(_lamps, "dark dark glow 1", Pose(cy=0.8, sx=0.95, sy=0.3, dx=0.1, dy=0.03, link=7)),
    ),
)
