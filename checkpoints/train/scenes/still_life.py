"""A still life: a table, a vessel, fruit, and apples, a candle, flowers or a bottle."""

from __future__ import annotations

import torch
from torch import Tensor

from checkpoints.train.layer import EMPTY, Layer, Pair, Pose
from checkpoints.train.scenes.room import INDOOR_LIGHTS, wall
from checkpoints.train.shapes import ball, box, circle, ellipse, segment, soft, union, wave


def _table(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        edge = 0.3 + (0.02 * torch.sin(5 * x + seed) if seed % 2 else torch.zeros_like(x))
        depth = y - edge
        grain = wave(x, depth, 2 + seed, 30, seed) * 0.35
        cloth = torch.sin(6 * x + 2 * seed + 2 * depth) * 0.5
        return (edge - y), (cloth if seed % 2 else grain) * soft(0.03 - depth, 0.1) + 0.5 * soft(
            depth.abs() - 0.03, 0.02
        )

    return Layer(
        shape,
        ("wood dark light 0.4", "cloud mist near 0.5", "near dark light 0.35", "accent2 near cloud 0.4")[seed],
        Pose(sx=1.2, sy=1.2, dx=0.2, dy=0.06, link=3),
    )


VESSEL = Pose(cx=-0.28, cy=0.1, sx=0.5, sy=0.56, dx=0.16, dy=0.05, link=2)


def _vessel(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        profile = (
            0.3 + 0.22 * torch.sin(3.0 * (y + 0.1)),
            0.42 * (1 - ((y - 0.2) / 0.85) ** 2).clamp(0.02, 1).sqrt(),
            0.2 + 0.4 * soft(0.25 - y, 0.5),
            0.72 * (0.85 - y).clamp(0.02, 1) ** 0.5 * soft(0.32 - y, 0.02),
        )[seed]
        top = (-0.55, -0.5, -0.6, 0.34)[seed]
        body = torch.maximum(x.abs() - profile, (y - (top + 0.85) / 2).abs() - (0.85 - top) / 2)
        if seed == 1:
            body = union(body, (ellipse(x, y, 0.44, 0.1, 0.2, 0.28)).abs() - 0.045)
        bands = (
            0.35 * torch.sign(torch.sin(17 * y)) * soft((y - 0.1).abs() - 0.3, 0.02)
            if seed != 3
            else 0.2 * wave(x, y, 20, 0)
        )
        return body, (-1.3 * (x / 0.5 + 0.25)).clamp(-0.8, 0.5) + bands

    tones = ("far near light 0.55", "accent2 dark light 0.5", "cloud far dark 0.5", "mid dark light 0.5")
    return Layer(shape, tones[seed], VESSEL)


def _fruit(balls: tuple[tuple[float, float, float], ...], colors: str, pose: Pose) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        distance, tone = torch.full_like(x, 9.0), torch.zeros_like(x)
        for cx, cy, r in balls:
            one = circle(x, y, cx, cy, r)
            tone = torch.where(one < 0, ball(x, y, cx, cy, r), tone)
            distance = torch.minimum(distance, one)
        return distance, tone

    return Layer(shape, colors, pose)


def _candle(x: Tensor, y: Tensor) -> Pair:
    stick = union(box(x, y, 0, 0.2, 0.13, 0.5), ellipse(x, y, 0, 0.78, 0.45, 0.12))
    return stick, (-2.2 * x).clamp(-0.5, 0.5)


def _flame(x: Tensor, y: Tensor) -> Pair:
    flame = torch.hypot(x / 0.1, (y + 0.55) / (0.2 + 0.06 * torch.sign(-y - 0.55))) - 1
    r = torch.hypot(x, y + 0.55)
    return torch.minimum(flame * 0.1, r - 0.42), soft(flame, 0.3) * 1.2 - 0.3 + 0.5 * (0.42 - r)


def _stems(x: Tensor, y: Tensor) -> Pair:
    ends = [(-0.7, -0.2), (-0.4, -0.55), (0.0, -0.75), (0.42, -0.5), (0.7, -0.15)]
    leaves = [ellipse(x + 0.5 * y, y, sx, sy, 0.2, 0.09) for sx, sy in ((-0.4, 0.2), (0.45, 0.25), (0.05, -0.2))]
    return union(*(segment(x, y, (0, 0.95), end, 0.03) for end in ends), *leaves), 0.5 * wave(x, y, 15, 15)


def _blossoms(x: Tensor, y: Tensor) -> Pair:
    distance, tone = torch.full_like(x, 9.0), torch.zeros_like(x)
    for i, (cx, cy) in enumerate(
        [(-0.7, -0.25), (-0.4, -0.6), (0.02, -0.75), (0.42, -0.55), (0.72, -0.2), (-0.1, -0.25)]
    ):
        angle, r = torch.atan2(y - cy, x - cx), torch.hypot(x - cx, y - cy)
        flower = r - 0.2 - 0.05 * torch.cos(6 * angle + i)
        tone = torch.where(flower < 0, (-1) ** i * 0.6 - 1.6 * (-1) ** i * soft(r - 0.07, 0.03), tone)
        distance = torch.minimum(distance, flower)
    return distance, tone


def _bottle(x: Tensor, y: Tensor) -> Pair:
    neck = box(x, y, 0, -0.6, 0.1, 0.35)
    body = union(box(x, y, 0, 0.35, 0.3, 0.55), ellipse(x, y, 0, -0.18, 0.3, 0.28))
    return union(neck, body), 0.9 * soft((x + 0.15).abs() - 0.035, 0.04)


def _label(x: Tensor, y: Tensor) -> Pair:
    return box(x, y, 0, 0.35, 0.3, 0.2), 0.7 * wave(x, y, 0, 40) * soft(x.abs() - 0.2, 0.03)


RIGHT = Pose(cx=0.4, cy=0.22, sx=0.42, sy=0.5, dx=0.16, dy=0.05, link=6)
TABLETOP = Pose(cx=0.1, cy=0.6, sx=0.5, sy=0.46, dx=0.14, dy=0.04, link=7)
FLOWERS = Pose(cx=-0.28, cy=-0.42, sx=0.55, sy=0.5, dx=0.16, dy=0.05, link=2)

STILL_LIFE = (
    tuple(
        wall(seed, ("near dark mist 0.5", "sky_top far cloud 0.4", "mid dark far 0.5", "mist near cloud 0.4")[seed])
        for seed in range(4)
    ),
    INDOOR_LIGHTS,
    tuple(_table(seed) for seed in range(4)),
    tuple(_vessel(seed) for seed in range(4)),
    (
        EMPTY,
        Layer(_candle, "light cloud wood 0.6", RIGHT),
        Layer(_stems, "near dark mid 0.4", FLOWERS),
        Layer(_bottle, "dark near light 0.6", RIGHT),
    ),
    (
        _fruit(((-0.62, 0.1, 0.3), (0.62, 0.2, 0.3)), "glow accent shade 0.6", TABLETOP),
        _fruit(((-0.35, 0.2, 0.26), (0.1, 0.25, 0.24), (-0.12, -0.15, 0.24)), "accent2 near shade 0.6", TABLETOP),
        _fruit(((0.35, 0.15, 0.36),), "glow wood shade 0.7", TABLETOP),
        _fruit(
            ((-0.5, 0.2, 0.2), (-0.2, 0.22, 0.2), (-0.35, -0.05, 0.2), (0.35, 0.25, 0.22)),
            "accent dark light 0.6",
            TABLETOP,
        ),
    ),
    (
        _fruit(
            ((-0.5, 0.35, 0.36), (0.25, 0.4, 0.38), (-0.1, -0.05, 0.34), (0.72, 0.5, 0.26)), "red glow shade 0.6", RIGHT
        ),
        Layer(_flame, "glow glow light 0.9", RIGHT),
        Layer(_blossoms, "accent red glow 0.9", FLOWERS),
        Layer(_label, "light cloud dark 0.6", RIGHT),
    ),
    tuple(EMPTY for _ in range(4)),
)
