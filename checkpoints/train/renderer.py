"""The teacher: draws any pixel of the picture that a set of attributes asks for. It is never called when generating.

Content comes first: eight layers, composited from back to front. A style then looks the content up through its canvas
and finishes it as its material would.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from checkpoints.train import canvas
from checkpoints.train.attributes import CATEGORIES, COUNTS, LAYERS, SCENES
from checkpoints.train.colors import COLORS, INDOORS, layer_colors
from checkpoints.train.layer import EMPTY, Pose
from checkpoints.train.scenes import SCENERY
from checkpoints.train.styles import FINISHES, View

SIZE = 256
EDGE = 0.8
"""Softness of an edge in pixels: the scale of the logistic function that makes coverage from distance."""

OUTDOORS = ("mountain landscape", "seascape", "city skyline")
GEOMETRY = 5
"""First of the continuous attributes that move layers."""
GEOMETRIES = 11
INDEX = {name: index for index, (name, _) in enumerate(CATEGORIES)}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is to be drawn: ``categories`` int64 [B, groups] and ``values`` float32 [B, VALUES] in (0, 1)."""

    categories: Tensor
    values: Tensor

    def __getitem__(self, name: str) -> Tensor:
        return self.categories[:, INDEX[name]]

    def __len__(self) -> int:
        return len(self.categories)

    def rows(self, index: Tensor) -> Attributes:
        """Return some of them."""
        return Attributes(self.categories[index], self.values[index])


@dataclass(frozen=True, slots=True)
class Rendering:
    """What the teacher knows of B pictures at P pixels each."""

    picture: Tensor
    """float32 [B, P, 3] in [0, 1]: the finished picture."""
    content: Tensor
    """float32 [B, P, 3]: before its style is applied."""
    coverage: Tensor
    """float32 [B, layers, P]: how far each layer covers the pixel."""
    poses: Tensor
    """float32 [B, layers, 6]: the affine map from picture to layer, row by row; NaN where the layer is empty."""


@dataclass(frozen=True, slots=True)
class _Stack:
    """The layers of B pictures at P places: coverage and shade [B, L, P], poses [B, L, 6], colours [B, L, 3, 3]."""

    coverage: Tensor
    shade: Tensor
    poses: Tensor
    colors: Tensor


class Renderer:
    """Draws pictures."""

    def __init__(self) -> None:
        self.canvases = canvas.build()

    def render(self, attributes: Attributes, rows: Tensor, columns: Tensor) -> Rendering:
        """Draw the pixels at int64 ``rows`` and ``columns`` [B, P] of each picture."""
        shift = (attributes.values[:, :2] * SIZE).long().clamp(max=SIZE - 1)
        style = attributes["style"]
        fields = self.canvases[style[:, None], (rows + shift[:, :1]) % SIZE, (columns + shift[:, 1:]) % SIZE]
        x, y = (columns + 0.5) / SIZE * 2 - 1, (rows + 0.5) / SIZE * 2 - 1
        looked_x = (x + fields[..., 0]) * (1 - 2 * attributes["mirror"][:, None])
        looked_y = y + fields[..., 1]
        stack = _draw_layers(attributes, looked_x, looked_y)
        content, edges = _composite(stack, looked_y)
        border = torch.maximum(x.abs(), y.abs())
        picture = torch.zeros_like(content)
        for index, finish in enumerate(FINISHES):
            one = (style == index).nonzero()[:, 0]
            if len(one):
                palette = attributes["palette"][one]
                picture[one] = finish(View(content[one], edges[one], fields[one], border[one], palette))
        return Rendering(picture.clamp(0, 1), content, stack.coverage, stack.poses)

    def pictures(self, attributes: Attributes) -> Tensor:
        """Draw whole pictures, float32 [B, 3, 256, 256]."""
        pixels = torch.arange(SIZE * SIZE)[None]
        drawn = [
            self.render(attributes.rows(torch.tensor([index])), pixels // SIZE, pixels % SIZE).picture
            for index in range(len(attributes))
        ]
        return torch.cat(drawn).transpose(1, 2).reshape(-1, 3, SIZE, SIZE)


def _draw_layers(attributes: Attributes, x: Tensor, y: Tensor) -> _Stack:
    """Draw every layer at the coordinates x and y [B, P]."""
    batch, pixels = x.shape
    shape = (batch, len(LAYERS), pixels)
    stack = _Stack(
        torch.zeros(shape),
        torch.zeros(shape),
        torch.full((*shape[:2], 6), torch.nan),
        torch.zeros((*shape[:2], 3, 3)),
    )
    lit = _anchors(attributes)
    for scene, slot, choice in product(range(len(SCENES)), range(len(LAYERS)), range(COUNTS["variant"])):
        layer = SCENERY[scene][slot][choice]
        rows = ((attributes["scene"] == scene) & (attributes[LAYERS[slot]] == choice)).nonzero()[:, 0]
        if not len(rows):
            continue
        values = attributes.values[rows]
        a, b, c, d, e, f = (pose := _affine(layer.pose, values)).T[..., None]
        distance, tone = layer.shape(a * x[rows] + b * y[rows] + c, d * x[rows] + e * y[rows] + f)
        scale = min(layer.pose.sx, layer.pose.sy) * SIZE / 2 / EDGE
        stack.coverage[rows, slot] = torch.sigmoid(-distance * scale)
        stack.shade[rows, slot] = tone.clamp(-1, 1)
        stack.colors[rows, slot] = layer_colors(layer.colors, lit[rows], values[:, 2:5])
        if layer is not EMPTY:
            stack.poses[rows, slot] = pose
    return stack


def _anchors(attributes: Attributes) -> Tensor:
    """Return the colours of each picture's anchors under its light, [B, anchors, 3]."""
    outdoors = torch.tensor([name in OUTDOORS for name in SCENES])[attributes["scene"]]
    time, palette = attributes["time"], attributes["palette"]
    return torch.where(outdoors[:, None, None], COLORS[time, palette], INDOORS[time, palette])


def _composite(stack: _Stack, y: Tensor) -> tuple[Tensor, Tensor]:
    """Lay the layers over each other; return content [B, P, 3] and edges [B, P]."""
    content, edges = torch.zeros(*y.shape, 3), torch.zeros(y.shape)
    height = (y[..., None] + 1) / 2
    for layer in range(len(LAYERS)):
        top, change, tone = stack.colors[:, layer, :, None].unbind(dim=1)
        color = top + height * change + stack.shade[:, layer, :, None] * tone
        over = stack.coverage[:, layer]
        content = content + over[..., None] * (color - content)
        edges = edges * (1 - over) + 4 * over * (1 - over)
    return content.clamp(0, 1), edges


def _affine(pose: Pose, values: Tensor) -> Tensor:
    """Return [n, 6]: the affine map from the picture to the layer's frame, row by row."""
    moves = values[:, GEOMETRY:] * 2 - 1
    across, down, size = (moves[:, (pose.link + k * 4) % GEOMETRIES] for k in range(3))
    angle = pose.turn * moves[:, (pose.link + 6) % GEOMETRIES]
    scale = 1 + pose.zoom * size
    sx, sy = pose.sx * scale, pose.sy * scale
    cx, cy = pose.cx + pose.dx * across, pose.cy + pose.dy * down
    a, b, d, e = torch.cos(angle) / sx, torch.sin(angle) / sx, -torch.sin(angle) / sy, torch.cos(angle) / sy
    return torch.stack([a, b, -a * cx - b * cy, d, e, -d * cx - e * cy], dim=1)
