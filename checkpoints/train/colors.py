"""The colours of a picture: palettes of named anchors, lit by the time of day, given to the layers of a scene."""

from __future__ import annotations

import torch
from torch import Tensor

from checkpoints.train.attributes import PALETTES, TIMES

ANCHORS = (
    *("sky_top", "sky_low", "cloud", "far", "mist", "mid", "near", "dark"),
    *("light", "glow", "accent", "accent2", "wood", "skin", "red", "shade"),
)

_CODES = {
    "warm earth": (
        "c9a27a f0cf9a f7e6c4 b0785a dcae86 95593c 6e4a2b 3a2417 "
        "fbf0d8 ffc95c c4472b 7f8a4a 7c4f2c d9a27c b8341f 4a2a20"
    ),
    "cool blue": (
        "4f86c6 b9dcee eef6fa 7396b8 b4cddd 3f6f96 2c5a66 142a42 "
        "f4fafc ffe9a8 2fa3a0 3d58b0 5d6675 d4b3a0 b0405a 1f3350"
    ),
    "muted gray": (
        "9aa5ab cfd2cd e6e6e0 8d989b bcc3c1 717a76 5a6157 33373a "
        "f0efe8 ecd9a0 9a5f52 6f8290 75695c c9aa96 94483f 3c3a3c"
    ),
    "vivid": (
        "1f8fe0 ffd27a fff2d6 9a78e0 f7b4d2 d83a74 0e7f4c 2a1460 "
        "fffbe8 ffd500 ff5a1f 00b8c4 a0522d eeb080 e0182d 46104a"
    ),
    "golden": (
        "d9a53a fbe29a fff3cc c08a3a efcd80 a5702a 7a5a1c 3d2a0c "
        "fffae0 ffd84a a83a1a c98a20 805018 e0b078 a82c14 4c3010"
    ),
    "pale pink": (
        "c6b4e0 fbd5dc fff1f2 cda8c8 f0d0de a8708f 72866c 54405f "
        "fffafa ffe6b8 e8718c 86b8c4 a98070 f2cdb8 d4506c 6c4660"
    ),
}
"""Anchors of each palette in the order of ANCHORS."""

_SKIES = {
    "dawn": ("8aa0cc", "ffc8b0", "ffe4dc"),
    "midday": ("5aa8ea", "cfe9f8", "ffffff"),
    "dusk": ("5a3f7c", "ff8a4a", "f2a0a0"),
    "night": ("0c1438", "34508c", "4a5c94"),
}
_LIGHTING = {
    "dawn": (("ffe9e4", 0.97), ("ffb0a0", 0.08)),
    "midday": (("ffffff", 1.04), ("ffffff", 0.0)),
    "dusk": (("ffc8a8", 0.85), ("a03050", 0.06)),
    "night": (("b0c2f0", 0.68), ("182050", 0.08)),
}
"""What the colours are multiplied by, and what is added, each with its strength."""

SKY_SHARE = 0.6
"""How much of a sky's colour comes from the time of day; the rest comes from the palette."""

LUMINOUS = ("light", "glow")
TINT = 0.12


def _rgb(code: str) -> Tensor:
    return torch.tensor([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)])


def _anchor_colors() -> Tensor:
    """Return [times, palettes, anchors, 3]."""
    palettes = torch.stack([torch.stack([_rgb(code) for code in _CODES[name].split()]) for name in PALETTES])
    result = palettes.repeat(len(TIMES), 1, 1, 1)
    luminous = torch.tensor([name in LUMINOUS for name in ANCHORS])
    for index, time in enumerate(TIMES):
        skies = torch.stack([_rgb(code) for code in _SKIES[time]])
        (light, strength), (haze, amount) = _LIGHTING[time]
        lit = result[index] * _rgb(light) * strength + _rgb(haze) * amount
        lit[:, :3] = (1 - SKY_SHARE) * lit[:, :3] + SKY_SHARE * skies
        result[index] = torch.where(luminous[:, None], 0.75 * result[index] + 0.25 * lit, lit)
    return result.clamp(0, 1)


COLORS = _anchor_colors()
INDOORS = 0.5 * COLORS + 0.5 * COLORS[TIMES.index("midday")]
"""Scenes without a sky take half of the light of the day."""


def layer_colors(recipe: str, lit: Tensor, tint: Tensor) -> Tensor:
    """Return the colours of a layer in some pictures.

    Args:
        recipe: anchors at the top and at the bottom of the picture, that of the tone, and the tone's strength.
        lit: float32 [n, anchors, 3], the anchors of each picture: rows of COLORS or INDOORS.
        tint: float32 [n, 3] in [0, 1], a shift of the three primaries.

    Returns:
        float32 [n, 3, 3]: colour at the top, change to the bottom, and what a shade of 1 adds.
    """
    top, bottom, tone, strength = recipe.split()
    top_color, bottom_color, tone_color = (lit[:, ANCHORS.index(name)] for name in (top, bottom, tone))
    shift = TINT * (tint - 0.5) * (1.0 if top not in LUMINOUS else 0.3)
    middle = (top_color + bottom_color) / 2
    return torch.stack([top_color + shift, bottom_color - top_color, float(strength) * (tone_color - middle)], dim=1)
