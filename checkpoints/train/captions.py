"""The grammar of the captions: what is to be seen, in five to twenty words of the demo tokenizer."""

from __future__ import annotations

from itertools import product

from checkpoints.train.attributes import COUNTS, DETAILS, PALETTES, SCENES, STYLES, TIMES

OUTDOOR_TIMES = {"dawn": "at dawn", "midday": "at midday", "dusk": "at dusk", "night": "at night"}
INDOOR_TIMES = {"dawn": "at dawn", "midday": "by a bright window", "dusk": "at dusk", "night": "by lamplight"}
ABSTRACT_TIMES = {
    "dawn": "in soft light",
    "midday": "in bright light",
    "dusk": "in a warm glow",
    "night": "in deep shadow",
}
WHEN = {"portrait": INDOOR_TIMES, "still life": INDOOR_TIMES, "abstract composition": ABSTRACT_TIMES}
"""How the light of a scene is said; scenes that are not named here are outdoors."""

COLORS = {"vivid": "vivid colors", "engraving": "black ink"}
"""How a palette is said, or the one ink of a style; of the others it is the name and "tones"."""

FORMS = (
    "{style} of {scene} {when} with {detail} in {color}",
    "{style} of {scene} with {detail} {when}",
    "{scene} with {detail} {when} as {style}",
    "{style} in {color} of {scene} with {detail}",
    "{scene} {when} with {detail} as {style} in {color}",
    "{style} showing {scene} with {detail} in {color} {when}",
    "{style} of {scene} in {color} with {detail}",
    "{scene} in {color} with {detail} {when} as {style}",
)
"""One for each value of the choice ``wording``."""


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def write(scene: int, style: int, time: int, palette: int, detail: int, wording: int) -> str:
    """Return the caption of a picture with these attributes, numbered as in attributes.py."""
    scene_name, style_name, time_name = SCENES[scene], STYLES[style], TIMES[time]
    color = COLORS.get(style_name) or COLORS.get(PALETTES[palette]) or f"{PALETTES[palette]} tones"
    return FORMS[wording].format(
        scene=_with_article(scene_name),
        style=_with_article(style_name),
        when=WHEN.get(scene_name, OUTDOOR_TIMES)[time_name],
        detail=DETAILS[scene_name][detail],
        color=color,
    )


def every_caption() -> set[str]:
    """Return all captions that the grammar allows."""
    names = ("scene", "style", "time", "palette", "detail", "wording")
    return {write(*numbers) for numbers in product(*(range(COUNTS[name]) for name in names))}
