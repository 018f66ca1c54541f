"""Proof by repetition: published seeds are generated again and compared with what is in the bucket.

Compared are the bytes of the stored picture with the hash that its metadata names, and both with a fresh generation.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from PIL import Image

from producer.contract import image_key, metadata_key
from worker.encode import encode_png
from worker.errors import ObjectMissing, StorageError
from worker.model.engine import Engine, Generated
from worker.storage import ObjectStore

BATCH_SIZE = 32
METADATA_NAME = re.compile(r"seed_(\d{10})\.json$")


class Finding(StrEnum):
    """What comparing one seed gave."""

    SAME = "same"
    """Stored file, its metadata and the fresh generation agree bit for bit."""
    SAME_PIXELS = "same pixels"
    """Every pixel and the caption agree, but the PNG file differs: another build of the PNG encoder."""
    DIFFERENT = "different"
    """Pixels or caption differ from a fresh generation."""
    DAMAGED = "damaged"
    """The stored picture is not the one that its metadata names."""
    MISSING = "not published"
    """There is no such object for this model."""
    OTHER_MODEL = "other model"
    """It was made by another model, which this one cannot repeat."""


GOOD = frozenset({Finding.SAME, Finding.SAME_PIXELS})


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found for one seed, with a remark for people."""

    seed: int
    finding: Finding
    detail: str = ""


def published_seeds(store: ObjectStore, model_id: str, sample: int) -> list[int]:
    """Return up to ``sample`` seeds that the bucket holds for a model, chosen at random, in order."""
    names = (METADATA_NAME.search(key) for key in store.keys(f"{model_id}/"))
    seeds = [int(match.group(1)) for match in names if match]
    return sorted(random.sample(seeds, min(sample, len(seeds))))  # which ones are looked at is no secret


def verify(engine: Engine, store: ObjectStore, seeds: Sequence[int]) -> Iterator[Verified]:
    """Yield what is found for each seed, in order."""
    for start in range(0, len(seeds), BATCH_SIZE):
        for generated in engine.generate(seeds[start : start + BATCH_SIZE]):
            yield _compare(engine, store, generated)


def _compare(engine: Engine, store: ObjectStore, fresh: Generated) -> Verified:
    model_id, seed = engine.info.id, fresh.seed
    try:
        facts = json.loads(store.get(metadata_key(model_id, seed)))
        stored = store.get(image_key(model_id, seed))
    except ObjectMissing as error:
        return Verified(seed, Finding.MISSING, str(error))
    except ValueError as error:
        return Verified(seed, Finding.DAMAGED, f"its metadata is not JSON: {error}")
    sha256 = hashlib.sha256(stored).hexdigest()
    named = facts.get("image", {}).get("sha256")
    if sha256 != named:
        return Verified(seed, Finding.DAMAGED, f"the file has SHA-256 {sha256}, its metadata names {named}")
    if facts.get("caption") != fresh.caption:
        return Verified(seed, Finding.DIFFERENT, f"caption now: {fresh.caption}")
    if encode_png(fresh, engine.info).sha256 == sha256:
        return Verified(seed, Finding.SAME, sha256)
    return _compare_pixels(fresh, stored)


def _compare_pixels(fresh: Generated, stored: bytes) -> Verified:
    try:
        with Image.open(io.BytesIO(stored)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise StorageError(f"seed {fresh.seed}: the stored picture cannot be read ({error})") from error
    if pixels.shape == fresh.pixels.shape and np.array_equal(pixels, fresh.pixels):
        return Verified(fresh.seed, Finding.SAME_PIXELS, "the PNG encoder has changed")
    share = np.mean(pixels != fresh.pixels) if pixels.shape == fresh.pixels.shape else 1.0
    return Verified(fresh.seed, Finding.DIFFERENT, f"{share:.2%} of the subpixels differ")
