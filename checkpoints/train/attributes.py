"""What a latent decides: the attributes of a work of art, their values, and their words in a caption."""

from __future__ import annotations

from worker.model.config import DEMO_CODES, DEMO_LAYERS

SCENES = ("mountain landscape", "seascape", "portrait", "still life", "city skyline", "abstract composition")
STYLES = ("oil painting", "watercolor", "engraving", "woodcut", "mosaic", "pointillist painting")
TIMES = ("dawn", "midday", "dusk", "night")
PALETTES = ("warm earth", "cool blue", "muted gray", "vivid", "golden", "pale pink")

DETAILS = {
    "mountain landscape": ("pine trees", "a small cabin", "a calm lake", "a hot air balloon"),
    "seascape": ("a sailing boat", "a lighthouse", "a palm island", "flying gulls"),
    "portrait": ("a wide hat", "a long beard", "a red scarf", "round glasses"),
    "still life": ("ripe apples", "a burning candle", "a bouquet of flowers", "a wine bottle"),
    "city skyline": ("a church spire", "an arch bridge", "a clock tower", "a great dome"),
    "abstract composition": ("overlapping circles", "sharp triangles", "floating squares", "curved lines"),
}
"""One of four for each scene."""

CATEGORIES = DEMO_CODES.choices
"""Names and numbers of the choices. ``variant``, ``mirror`` and ``wording`` have no word in the caption."""

COUNTS = dict(CATEGORIES)

VALUES = DEMO_CODES.values
"""Continuous attributes in (0, 1): 0 and 1 shift the canvas, 2 to 4 tint the colours, the others move the layers."""

LAYERS = DEMO_LAYERS.layers
"""The layers of a picture from back to front, and the category that picks the shape of each."""
