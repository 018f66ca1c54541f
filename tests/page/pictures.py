"""Thousands of published pictures in a moment: what a worker would have written into bucket and gallery, and no worker.

Objects are put into the folder of the embedded S3 server before it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from producer import Client
from producer.contract import image_key, metadata_key
from producer.gallery import PublishedPicture, add_pictures, encode_facts
from tests.torture.stand_in import StandIn
from worker.encode import encode_metadata, encode_png
from worker.local.stack import BUCKET
from worker.model.generated import Generated

MODEL = replace(StandIn.info, id="gallery-0123456789abcdef", name="gallery")

FIRST_AT = 1_750_000_000
"""When the first was published: seconds since 1970."""

AT_ONCE = 500

COLORS = ("amber", "cobalt", "crimson", "emerald", "ivory", "lilac", "ochre", "teal")
THINGS = ("harbor", "lighthouse", "orchard", "portrait", "skyline", "teapot", "valley")


def caption_of(seed: int) -> str:
    """Return the caption of a seed, as it stands in its metadata."""
    return f"a {COLORS[seed % len(COLORS)]} {THINGS[seed % len(THINGS)]}, number {seed}"


def write_pictures(data: Path, seeds: Sequence[int], *, size: int = 16) -> None:
    """Write picture and metadata of each seed into the bucket of a stack over the folder ``data``."""
    bucket = data / "s3" / BUCKET
    (bucket / MODEL.id).mkdir(parents=True)
    for seed in seeds:
        pixels = np.full((size, size, 3), (seed * 37 % 256, seed * 101 % 256, seed * 59 % 256), dtype=np.uint8)
        generated = Generated(seed, pixels, caption_of(seed))
        encoded = encode_png(generated, MODEL)
        metadata = encode_metadata(generated, MODEL, encoded, image_key(MODEL.id, seed))
        (bucket / image_key(MODEL.id, seed)).write_bytes(encoded.png)
        (bucket / metadata_key(MODEL.id, seed)).write_bytes(metadata)


def index_pictures(client: Client, seeds: Sequence[int]) -> None:
    """Put the pictures of these seeds into the gallery, one second after the other."""
    pictures = [
        PublishedPicture(MODEL.id, seed, (FIRST_AT + place) * 1_000_000, encode_facts(caption_of(seed), {}))
        for place, seed in enumerate(seeds)
    ]
    for start in range(0, len(pictures), AT_ONCE):
        client._run(add_pictures(pictures[start : start + AT_ONCE]))
