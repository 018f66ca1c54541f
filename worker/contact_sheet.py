"""Many pictures on one: a grid with seeds and captions under the pictures."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

TILE = 256
GAP = 16
LABEL_HEIGHT = 74
LABEL_CHARACTERS = 40
LABEL_LINES = 4
MAX_TILES = 100
PAPER, INK, FAINT = (250, 249, 246), (30, 30, 30), (120, 120, 120)


def contact_sheet(
    pictures: Sequence[tuple[int, str, bytes]], *, columns: int | None = None, form: str = "PNG"
) -> bytes:
    """Return a picture of the first :data:`MAX_TILES` pictures, given as (seed, caption, PNG bytes).

    Args:
        pictures: what is shown, row by row.
        columns: pictures side by side; ``None`` for about as many as there are rows.
        form: ``PNG``, or another format that Pillow writes, such as ``JPEG``.
    """
    shown = pictures[:MAX_TILES]
    columns = columns or min(len(shown), max(3, math.ceil(math.sqrt(len(shown)))))
    rows = math.ceil(len(shown) / columns)
    size = (GAP + columns * (TILE + GAP), GAP + rows * (TILE + LABEL_HEIGHT + GAP))
    sheet = Image.new("RGB", size, PAPER)
    for index, (seed, caption, png) in enumerate(shown):
        row, column = divmod(index, columns)
        corner = (GAP + column * (TILE + GAP), GAP + row * (TILE + LABEL_HEIGHT + GAP))
        _draw_tile(sheet, corner, seed, caption, png)
    buffer = io.BytesIO()
    sheet.save(buffer, form)
    return buffer.getvalue()


def _draw_tile(sheet: Image.Image, corner: tuple[int, int], seed: int, caption: str, png: bytes) -> None:
    with Image.open(io.BytesIO(png)) as picture:
        sheet.paste(picture.convert("RGB").resize((TILE, TILE)), corner)
    left, top = corner[0], corner[1] + TILE
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top + 3), str(seed), FAINT, font=ImageFont.load_default(11))
    lines = textwrap.wrap(caption, LABEL_CHARACTERS, max_lines=LABEL_LINES, placeholder=" …")
    draw.multiline_text((left, top + 17), "\n".join(lines), INK, font=ImageFont.load_default(12), spacing=1)
