"""What each style does with the content: its material, seen through the canvas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from checkpoints.train.attributes import TIMES
from checkpoints.train.colors import ANCHORS, COLORS

_MIDDAY = TIMES.index("midday")
_LUMA = torch.tensor([0.3, 0.59, 0.11])


def _luma(content: Tensor) -> Tensor:
    return content @ _LUMA


def _mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a + (b - a) * share[..., None]


def _anchor(palette: Tensor, name: str) -> Tensor:
    return COLORS[_MIDDAY, palette, ANCHORS.index(name)][:, None]


def _step(value: Tensor, width: float) -> Tensor:
    return torch.sigmoid(value / width)


@dataclass(frozen=True, slots=True)
class View:
    """What is known of P pixels of n pictures of one style."""

    content: Tensor
    """float32 [n, P, 3]: what is shown there."""
    edges: Tensor
    """float32 [n, P]: 1 on an edge of a layer, 0 away from it."""
    fields: Tensor
    """float32 [n, P, 6]: the canvas; see canvas.CHANNELS."""
    border: Tensor
    """float32 [n, P]: 0 in the middle of the picture, 1 at its border."""
    palette: Tensor
    """int64 [n]."""


def oil(view: View) -> Tensor:
    """Strokes of one colour each, with bristles and a little relief."""
    tone, bristle, ridge = view.fields[..., 2], view.fields[..., 3], view.fields[..., 4]
    rich = _luma(view.content)[..., None] + 1.15 * (view.content - _luma(view.content)[..., None])
    rich = rich * (1 - 0.3 * view.edges)[..., None]
    return rich * (1 + 0.14 * tone + 0.05 * bristle)[..., None] + (0.035 * bristle + 0.03 * ridge)[..., None]


def watercolor(view: View) -> Tensor:
    """Thin washes that bleed and bloom on white paper, darker where they end."""
    paper = torch.tensor([0.985, 0.975, 0.95])
    frame = view.border - 0.9 + 0.035 * view.fields[..., 4] + 0.02 * view.fields[..., 5]
    wash = (0.8 + 0.22 * view.fields[..., 2] + 0.07 * view.fields[..., 3]) * (1 - _step(frame, 0.008))
    rim = 0.16 * torch.exp(-(((frame + 0.03) / 0.02) ** 2))
    pigment = view.content * (1 - 0.4 * view.edges - rim)[..., None] * 0.92 + 0.08
    return _mix(paper.expand_as(view.content), pigment, wash.clamp(0, 1))


def engraving(view: View) -> Tensor:
    """Fine lines that swell with the dark, crossed by others in the shadows."""
    dark = (0.42 + 1.75 * (0.5 - _luma(view.content))).clamp(0, 1) + 0.55 * view.edges
    first = _step(view.fields[..., 2] - 1.15 + 1.75 * dark + 0.12 * view.fields[..., 4], 0.22)
    second = _step(view.fields[..., 3] - 2.1 + 2.4 * dark, 0.22)
    ink = 1 - (1 - 0.92 * first) * (1 - 0.75 * second)
    paper, black = torch.tensor([0.93, 0.89, 0.79]), torch.tensor([0.13, 0.11, 0.11])
    return _mix(paper * (1 + 0.02 * view.fields[..., 5:6]), black.expand_as(view.content), ink)


def woodcut(view: View) -> Tensor:
    """Three flat inks, with the marks of the gouge between them."""
    light = _luma(view.content) + 0.075 * view.fields[..., 2] + 0.05 * view.fields[..., 3]
    paper, color = torch.tensor([0.95, 0.9, 0.78]), _anchor(view.palette, "accent")
    half = 0.55 * color + 0.45 * _anchor(view.palette, "near")
    black = torch.tensor([0.1, 0.08, 0.09]).expand_as(view.content)
    tones = _mix(half.expand_as(view.content), paper.expand_as(view.content), _step(light - 0.6, 0.025))
    tones = _mix(black, tones, _step(light - 0.3 - 0.22 * view.edges, 0.025))
    return tones * (1 + 0.035 * view.fields[..., 4])[..., None]


def mosaic(view: View) -> Tensor:
    """Tesserae of one colour each, bevelled, in dark grout."""
    tile = view.content * (1 - 0.3 * view.edges[..., None] + 0.1 * view.fields[..., 3:4])
    tile = tile + 0.04 * view.fields[..., 4:5] * torch.tensor([1.0, 0.0, -1.0])
    tile = tile + 0.07 * view.fields[..., 5:6] + 0.03
    grout = torch.tensor([0.25, 0.23, 0.22]) + 0.1 * view.content
    return _mix(grout, tile, (view.fields[..., 2] + 1) / 2)


def pointillism(view: View) -> Tensor:
    """Dots of broken colour on light paper."""
    vivid = _luma(view.content)[..., None] + 1.3 * (view.content - _luma(view.content)[..., None])
    dots = vivid * (1 - 0.3 * view.edges)[..., None] + 0.075 * view.fields[..., 3:6]
    paper = 0.4 * torch.tensor([0.95, 0.93, 0.88]) + 0.6 * view.content
    return _mix(paper, dots, (view.fields[..., 2] + 1) / 2)


FINISHES = (oil, watercolor, engraving, woodcut, mosaic, pointillism)
"""In the order of attributes.STYLES."""
