"""A portrait: hair, clothes, a face, and a hat, a beard, a scarf or glasses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from checkpoints.train.layer import EMPTY, Layer, Pair, Pose
from checkpoints.train.scenes.room import INDOOR_LIGHTS, wall
from checkpoints.train.shapes import box, circle, cut, ellipse, polygon, segment, soft, union, wave

HEAD = Pose(cx=0.0, cy=-0.1, sx=0.62, sy=0.72, dx=0.16, dy=0.06, link=2)


def _hair(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        crown = ellipse(x, y, 0, -0.28, 0.52, 0.52)
        if seed == 0:  # long and straight
            hair = union(crown, box(x, y, 0, 0.22, 0.52, 0.55))
        elif seed == 1:  # short
            hair = union(crown, ellipse(x, y, 0, -0.12, 0.5, 0.5))
        elif seed == 2:  # a bun
            hair = union(crown, circle(x, y, 0.0, -0.82, 0.2))
        else:  # curls
            turns = [(0.5 * math.sin(0.72 * i), -0.2 - 0.5 * math.cos(0.72 * i)) for i in range(-4, 5)]
            hair = union(crown, *(circle(x, y, a, b, 0.2) for a, b in turns))
        return hair, 0.5 * torch.sin(26 * torch.hypot(x, 0.7 * (y + 0.9)) + 2 * x)

    return Layer(
        shape, ("dark dark wood 0.4", "wood dark light 0.3", "mist mid light 0.3", "dark wood accent 0.4")[seed], HEAD
    )


def _clothes(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        width = 0.86 - 0.14 * seed % 0.3
        body = union(ellipse(x, y, 0, 0.75, width, 0.62), box(x, y, 0, 1.2, width, 0.45))
        folds = 0.3 * torch.sin(11 * x + 3 * y * x) * soft(0.3 - y, 0.3)
        if seed % 2:  # an open collar
            vee = polygon(x, y, [(-0.26, 0.1), (0.26, 0.1), (0.0, 0.7)])
            return body, 0.95 * soft(vee, 0.03) + (1 - soft(vee, 0.03)) * folds
        buttons = soft(torch.hypot(x, (y * 5 % 1 - 0.5) / 5) - 0.035, 0.02)
        return body, folds + 0.9 * buttons * soft(0.4 - y, 0.02)

    tones = ("accent near light 0.7", "near dark light 0.7", "accent2 mid light 0.6", "mid accent light 0.7")
    return Layer(shape, tones[seed], Pose(cx=0.0, cy=0.34, sx=0.82, sy=0.78, dx=0.16, dy=0.06, link=2))


def _face(seed: int) -> Layer:
    def shape(x: Tensor, y: Tensor) -> Pair:
        turn = (-0.05, 0.0, 0.05, 0.0)[seed]
        head = union(ellipse(x, y, 0, -0.08, 0.38, 0.5), box(x, y, 0, 0.42, 0.15, 0.24))
        fringe = ellipse(x, y, 0.12 - 0.08 * seed, -0.72, 0.55, 0.36)
        mirrored = (x - turn).abs()
        eyes = ellipse(mirrored, y, 0.15, -0.12, 0.07, 0.036)
        brows = segment(mirrored, y, (0.08, -0.225), (0.23, -0.215), 0.016)
        nose = segment(x, y, (turn, -0.06), (turn + 0.04, 0.1), 0.014)
        mouth = segment(mirrored, y, (0.0, 0.235), (0.1, 0.225), 0.026)
        features = soft(union(eyes, brows, mouth), 0.025) + 0.5 * soft(nose, 0.03)
        cheek = 0.3 - 0.75 * torch.hypot(x + 0.18, 0.7 * (y + 0.1))
        chin = soft(torch.maximum(0.36 - y, x.abs() - 0.16), 0.08)
        return cut(head, fringe), (0.35 * chin - cheek).clamp(-0.45, 0.45) + 1.2 * features.clamp(0, 1)

    skins = ("skin skin dark 0.7", "skin wood dark 0.7", "skin light dark 0.7", "wood skin dark 0.7")
    return Layer(shape, skins[seed].replace("dark", "shade"), HEAD)


def _hat(x: Tensor, y: Tensor) -> Pair:
    brim = ellipse(x, y, 0, -0.45, 0.85, 0.13)
    crown = torch.maximum(ellipse(x, y, 0, -0.5, 0.45, 0.48), y + 0.42)
    return union(brim, crown), 0.25 - 0.5 * x


def _hat_band(x: Tensor, y: Tensor) -> Pair:
    feather = ellipse(x + 0.35 * y, y, 0.2, -0.78, 0.09, 0.3)
    return union(box(x, y, 0, -0.56, 0.44, 0.055), feather), 0.4 * wave(x, y, 12, 30)


def _beard(x: Tensor, y: Tensor) -> Pair:
    jaw = cut(ellipse(x, y, 0, 0.2, 0.385, 0.6), box(x, y, 0, -0.35, 0.6, 0.42), ellipse(x, y, 0, 0.0, 0.26, 0.2))
    mouth = ellipse(x, y, 0, 0.24, 0.11, 0.035)
    return cut(jaw, mouth), 0.6 * torch.sin(24 * x * (1.3 - 0.5 * y))


def _scarf(x: Tensor, y: Tensor) -> Pair:
    ring = ellipse(x, y, 0, 0.55, 0.44, 0.17)
    tail = polygon(x, y, [(0.08, 0.5), (0.34, 0.5), (0.42, 1.0), (0.14, 1.0)])
    return union(ring, tail), 0.6 * wave(x, y, 9, 22)


def _glasses(x: Tensor, y: Tensor) -> Pair:
    mirrored = x.abs()
    rim = circle(mirrored, y, 0.17, -0.12, 0.135).abs() - 0.022
    return union(rim, segment(mirrored, y, (0.0, -0.14), (0.04, -0.14), 0.02)), torch.zeros_like(x)


def _moustache(x: Tensor, y: Tensor) -> Pair:
    return ellipse(x.abs(), y + 0.5 * x.abs() ** 2, 0.09, 0.19, 0.12, 0.035), 0.3 * wave(x, y, 40, 0)


PORTRAIT = (
    tuple(
        wall(seed, ("sky_top near mist 0.5", "mid dark far 0.5", "far near cloud 0.45", "near dark mist 0.5")[seed])
        for seed in range(4)
    ),
    INDOOR_LIGHTS,
    tuple(_hair(seed) for seed in range(4)),
    tuple(_clothes(seed) for seed in range(4)),
    (EMPTY, EMPTY, EMPTY, EMPTY),
    tuple(_face(seed) for seed in range(4)),
    (
        Layer(_hat, "near dark light 0.4", HEAD),
        Layer(_beard, "mist wood dark 0.5", HEAD),
        Layer(_scarf, "red red dark 0.5", HEAD),
        Layer(_glasses, "dark dark dark 0", HEAD),
    ),
    (
        Layer(_hat_band, "accent light dark 0.3", HEAD),
        Layer(_moustache, "mist wood dark 0.5", HEAD),
        EMPTY,
        EMPTY,
    ),
)
