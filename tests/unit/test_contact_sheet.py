"""Many pictures on one."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from worker.contact_sheet import MAX_TILES, TILE, contact_sheet


def flat(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (TILE, TILE), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 13, MAX_TILES + 5])
def test_every_picture_has_its_place_up_to_the_limit(count: int) -> None:
    colours = [(n % 256, 255 - n % 256, 77) for n in range(count)]
    png = contact_sheet([(n, f"caption {n}", flat(colour)) for n, colour in enumerate(colours)])
    found = {colour for _, colour in Image.open(io.BytesIO(png)).getcolors(maxcolors=10**6) or []}
    assert set(colours[:MAX_TILES]) <= found


def test_a_long_caption_is_cut_and_not_drawn_over_its_neighbour() -> None:
    long = contact_sheet([(1, "word " * 200, flat((9, 9, 9)))])
    assert Image.open(io.BytesIO(long)).size == Image.open(io.BytesIO(contact_sheet([(1, "w", flat((9, 9, 9)))]))).size
