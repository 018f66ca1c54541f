"""Proof by repetition: published seeds are generated again and compared with what is in the bucket.

Both stored objects are compared with a fresh generation, byte for byte; where they differ, it is said in what. One
seed whose objects cannot be read does not hide the others.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from PIL import Image

from producer.contract import image_key, metadata_key
from worker.encode import encode_metadata, encode_png
from worker.errors import ObjectMissing, StorageUnreachable
from worker.model.engine import Engine
from worker.model.generated import Generated
from worker.model.isolate import generate_each
from worker.storage import ObjectStore

BATCH_SIZE = 32
MODEL_ID = re.compile(r"[a-z0-9-]+-[0-9a-f]{16}")
METADATA_NAME = re.compile(r"seed_(\d{10})\.json$")


class Finding(StrEnum):
    """What comparing one seed gave."""

    SAME = "same"
    """Both stored objects are byte for byte what a fresh generation gives."""
    SAME_PIXELS = "same pixels"
    """Every pixel and every fact agree, but the files differ: another build of the PNG encoder."""
    DIFFERENT = "different"
    """Pixels or facts differ from a fresh generation."""
    DAMAGED = "damaged"
    """The stored picture is not the one that its metadata names, or one of the two cannot be read."""
    MISSING = "not published"
    """There is no metadata of this model for it, which is what publishes a seed."""
    FAILED = "not generated"
    """The model fails on it now, so that nothing can be compared."""
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
    """Yield what is found for each seed, in order.

    Raises:
        StorageError: the store as a whole does not answer, or refuses.
    """
    others: list[str] | None = None
    for start in range(0, len(seeds), BATCH_SIZE):
        batch = seeds[start : start + BATCH_SIZE]
        for seed, fresh in zip(batch, generate_each(engine.generate, batch), strict=True):
            if isinstance(fresh, Exception):
                yield Verified(seed, Finding.FAILED, str(fresh))
                continue
            found = _compare(engine, store, fresh)
            if found.finding is Finding.MISSING:
                others = other_models(store, engine.info.id) if others is None else others
                found = _made_by_another(store, found, others, engine.info.id)
            yield found


def other_models(store: ObjectStore, model_id: str) -> list[str]:
    """Return the ids of the models, other than this one, that have published in the bucket."""
    return [name for name in store.folders() if MODEL_ID.fullmatch(name) and name != model_id]


def _made_by_another(store: ObjectStore, missing: Verified, others: Sequence[str], model_id: str) -> Verified:
    """Say so if a seed that this model has not published was published by another."""
    for other in others:
        with suppress(ObjectMissing):
            store.get(metadata_key(other, missing.seed))
            return Verified(missing.seed, Finding.OTHER_MODEL, f"made by {other}, this is {model_id}")
    return missing


def _compare(engine: Engine, store: ObjectStore, fresh: Generated) -> Verified:
    model_id, seed = engine.info.id, fresh.seed
    key = image_key(model_id, seed)
    try:
        document = store.get(metadata_key(model_id, seed))
    except ObjectMissing as error:
        return Verified(seed, Finding.MISSING, str(error))
    except StorageUnreachable as error:
        return _unreadable(store, seed, "metadata", error)
    try:
        stored = store.get(key)
    except ObjectMissing as error:
        return Verified(seed, Finding.DAMAGED, f"there is metadata, but {error}")
    except StorageUnreachable as error:
        return _unreadable(store, seed, "picture", error)
    encoded = encode_png(fresh, engine.info)
    wanted = encode_metadata(fresh, engine.info, encoded, key)
    if stored == encoded.png and document == wanted:
        return Verified(seed, Finding.SAME, encoded.sha256)
    try:
        return _explain(fresh, json.loads(document), stored, json.loads(wanted), encoded.png)
    except (ValueError, TypeError, KeyError, OSError, Image.DecompressionBombError) as error:
        return Verified(seed, Finding.DAMAGED, f"picture or metadata cannot be read: {type(error).__name__}: {error}")


def _unreadable(store: ObjectStore, seed: int, what: str, error: Exception) -> Verified:
    """Tell one object that the store cannot give from a store that does not answer at all, which raises."""
    store.check_bucket()
    return Verified(seed, Finding.DAMAGED, f"the store cannot give its {what}: {error}")


def _explain(
    fresh: Generated, facts: dict[str, Any], stored: bytes, wanted: dict[str, Any], wanted_png: bytes
) -> Verified:
    """Say in what the stored objects differ from a fresh generation; raises where they cannot be read."""
    seed, image = fresh.seed, facts["image"]
    sha256 = hashlib.sha256(stored).hexdigest()
    if (sha256, len(stored)) != (image["sha256"], image["bytes"]):
        return Verified(seed, Finding.DAMAGED, f"the file has SHA-256 {sha256}, its metadata names {image['sha256']}")
    if wrong := _differences(facts, wanted):
        return Verified(seed, Finding.DIFFERENT, f"metadata differs in {', '.join(wrong)}")
    with Image.open(io.BytesIO(stored)) as picture, Image.open(io.BytesIO(wanted_png)) as other:
        if (picture.height, picture.width) != fresh.pixels.shape[:2]:
            return Verified(seed, Finding.DIFFERENT, f"the stored picture is {picture.width}x{picture.height}")
        if (picture.format, picture.mode, getattr(picture, "n_frames", 1)) != ("PNG", "RGB", 1):
            return Verified(seed, Finding.DIFFERENT, f"the stored picture is {picture.format} in mode {picture.mode}")
        pixels, text, wanted_text = np.asarray(picture), _text(picture), _text(other)
    if not np.array_equal(pixels, fresh.pixels):
        return Verified(seed, Finding.DIFFERENT, f"{np.mean(pixels != fresh.pixels):.2%} of the subpixels differ")
    if wrong := [name for name in {**text, **wanted_text} if text.get(name) != wanted_text.get(name)]:
        return Verified(seed, Finding.DIFFERENT, f"the text in the PNG differs in {', '.join(wrong)}")
    return Verified(seed, Finding.SAME_PIXELS, "the PNG encoder or the order of the metadata is another")


def _differences(facts: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return the names of facts that differ, but for what a PNG encoder decides: the hash and the size of the file."""
    flat, wanted_flat = (
        {**document, **{f"image.{name}": value for name, value in document["image"].items()}}
        for document in (facts, wanted)
    )
    ignored = {"image", "image.sha256", "image.bytes"}
    return [
        name
        for name in {**flat, **wanted_flat}
        if name not in ignored and (name not in flat or name not in wanted_flat or flat[name] != wanted_flat[name])
    ]


def _text(picture: Image.Image) -> dict[str, str]:
    """Return the text chunks of a PNG, also those behind its pixels."""
    picture.load()
    return {name: str(value) for name, value in getattr(picture, "text", {}).items()}
