"""What verifying finds, for every way in which stored objects can be wrong."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from producer.contract import image_key, metadata_key
from tests.unit.fakes import FakeStore
from worker.encode import encode_metadata, encode_png
from worker.errors import DecodeError, StorageUnreachable
from worker.model.engine import Engine
from worker.model.generated import Generated
from worker.verify import Finding, Verified, published_seeds, verify

SEEDS = (20, 21, 22)
BAD = 21
OTHER = "demo-0123456789abcdef"


class Shelf(FakeStore):
    """A store with the published objects of the seeds, some of which a test spoils."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.sick: set[str] = set()
        self.away = False
        self.image, self.metadata = image_key(engine.info.id, BAD), metadata_key(engine.info.id, BAD)
        for generated in engine.generate(SEEDS):
            key = image_key(engine.info.id, generated.seed)
            encoded = encode_png(generated, engine.info)
            self.objects[key] = encoded.png
            self.objects[metadata_key(engine.info.id, generated.seed)] = encode_metadata(
                generated, engine.info, encoded, key
            )

    def get(self, key: str) -> bytes:
        if key in self.sick:
            raise StorageUnreachable("half of it came")
        return super().get(key)

    def check_bucket(self) -> None:
        if self.away:
            raise StorageUnreachable("the store is away")

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def folders(self) -> list[str]:
        return sorted({key.split("/")[0] for key in self.objects})

    def change(self, **facts: Any) -> None:
        self.objects[self.metadata] = json.dumps({**json.loads(self.objects[self.metadata]), **facts}).encode()

    def replace_picture(self, png: bytes, *, named: bool = True) -> None:
        """Store another picture, with metadata that names it or not."""
        self.objects[self.image] = png
        if named:
            image = json.loads(self.objects[self.metadata])["image"]
            self.change(image={**image, "sha256": hashlib.sha256(png).hexdigest(), "bytes": len(png)})

    def redraw(self, draw: Callable[[np.ndarray[Any, Any]], Any], **options: Any) -> None:
        """Store the picture again, with its text, after ``draw`` has changed its pixels."""
        picture: Any = Image.open(io.BytesIO(self.objects[self.image]))
        text = PngInfo()
        for name, value in picture.text.items():
            text.add_text(name, value)
        buffer = io.BytesIO()
        Image.fromarray(draw(np.array(picture))).save(buffer, **{"format": "PNG", "pnginfo": text, **options})
        self.replace_picture(buffer.getvalue())


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model / "best.pt", tiny_model / "tokenizer.json", device="cpu")


@pytest.fixture
def shelf(engine: Engine) -> Shelf:
    return Shelf(engine)


def found(engine: Engine, shelf: Shelf) -> Verified:
    """Return what is found for the spoiled seed; its neighbours must be found good."""
    before, spoiled, after = verify(engine, shelf, SEEDS)  # type: ignore[arg-type]
    assert (before.finding, after.finding) == (Finding.SAME, Finding.SAME)
    return spoiled


def invert_one(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    pixels[0, 0] = 255 - pixels[0, 0]
    return pixels


def test_untouched_objects_are_the_same(engine: Engine, shelf: Shelf) -> None:
    assert found(engine, shelf).finding is Finding.SAME


def test_a_seed_without_metadata_is_not_published(engine: Engine, shelf: Shelf) -> None:
    del shelf.objects[shelf.metadata]
    assert found(engine, shelf).finding is Finding.MISSING


def test_metadata_without_its_picture_is_damage_whatever_another_model_published(engine: Engine, shelf: Shelf) -> None:
    del shelf.objects[shelf.image]
    shelf.objects[metadata_key(OTHER, BAD)] = b"{}"
    assert found(engine, shelf).finding is Finding.DAMAGED


def test_a_seed_that_another_model_published_is_told_as_such(engine: Engine, shelf: Shelf) -> None:
    shelf.objects[metadata_key(OTHER, BAD)] = shelf.objects.pop(shelf.metadata)
    spoiled = found(engine, shelf)
    assert spoiled.finding is Finding.OTHER_MODEL
    assert f"made by {OTHER}, this is" in spoiled.detail


def test_folders_that_are_no_models_are_not_taken_for_some(engine: Engine, shelf: Shelf) -> None:
    shelf.objects["backup/seed_0000000021.json"] = shelf.objects.pop(shelf.metadata)
    assert found(engine, shelf).finding is Finding.MISSING


def test_one_other_pixel_is_found(engine: Engine, shelf: Shelf) -> None:
    shelf.redraw(invert_one)
    assert found(engine, shelf).finding is Finding.DIFFERENT


def test_another_encoding_of_the_same_pixels_is_told_as_such(engine: Engine, shelf: Shelf) -> None:
    shelf.redraw(lambda pixels: pixels, compress_level=9)
    assert found(engine, shelf).finding is Finding.SAME_PIXELS


def forged_text(png: bytes) -> PngInfo:
    text = PngInfo()
    for name, value in Image.open(io.BytesIO(png)).text.items():  # type: ignore[attr-defined]
        text.add_text(name, "forged" if name == "parameters" else value)
    return text


@pytest.mark.parametrize(
    ("draw", "options", "words"),
    [
        (lambda pixels: pixels, {"pnginfo": None}, "the text in the PNG differs in parameters, seedmill"),
        (lambda pixels: pixels, {"pnginfo": forged_text}, "the text in the PNG differs in parameters"),
        (lambda pixels: np.dstack([pixels, 0 * pixels[..., :1]]), {}, "PNG in mode RGBA"),
        (lambda pixels: pixels, {"save_all": True, "append_images": [Image.new("RGB", (16, 16))]}, "mode RGB"),
        (lambda pixels: pixels, {"format": "BMP"}, "BMP in mode RGB"),
    ],
    ids=["no text", "other text", "transparent", "animated", "no PNG"],
)
def test_a_picture_of_the_same_pixels_that_tells_or_shows_another_thing_is_found(
    engine: Engine, shelf: Shelf, draw: Any, options: dict[str, Any], words: str
) -> None:
    text = options.get("pnginfo")
    shelf.redraw(draw, **{**options, **({"pnginfo": text(shelf.objects[shelf.image])} if callable(text) else {})})
    spoiled = found(engine, shelf)
    assert spoiled.finding is Finding.DIFFERENT
    assert words in spoiled.detail


@pytest.mark.parametrize("name", ["key", "width", "height", "stowaway"])
def test_forged_facts_of_the_picture_are_found(engine: Engine, shelf: Shelf, name: str) -> None:
    image = json.loads(shelf.objects[shelf.metadata])["image"]
    shelf.change(image={**image, name: 7})
    spoiled = found(engine, shelf)
    assert spoiled.finding is Finding.DIFFERENT
    assert f"image.{name}" in spoiled.detail


def test_an_object_that_the_store_cannot_give_is_told_with_its_seed(engine: Engine, shelf: Shelf) -> None:
    shelf.sick = {shelf.image}
    spoiled = found(engine, shelf)
    assert spoiled.finding is Finding.DAMAGED
    assert "cannot give its picture" in spoiled.detail
    shelf.away = True
    with pytest.raises(StorageUnreachable, match="away"):
        list(verify(engine, shelf, SEEDS))  # type: ignore[arg-type]


def test_a_seed_on_which_the_model_fails_does_not_hide_the_others(
    engine: Engine, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.generate

    def generate(seeds: Sequence[int]) -> list[Generated]:
        if BAD in seeds:
            raise DecodeError("not finite")
        return whole(seeds)

    monkeypatch.setattr(engine, "generate", generate)
    assert found(engine, shelf) == Verified(BAD, Finding.FAILED, "not finite")


def test_a_picture_of_another_size_is_found(engine: Engine, shelf: Shelf) -> None:
    shelf.redraw(lambda pixels: pixels[:8])
    assert "16x8" in found(engine, shelf).detail


@pytest.mark.parametrize(
    "facts",
    [{"caption": "another"}, {"seed": 999}, {"latent_dim": 7}, {"model": {"id": "x"}}, {"device": "cuda"}],
    ids=lambda facts: next(iter(facts)),
)
def test_another_fact_is_found_by_its_name(engine: Engine, shelf: Shelf, facts: dict[str, Any]) -> None:
    shelf.change(**facts)
    spoiled = found(engine, shelf)
    assert spoiled.finding is Finding.DIFFERENT
    assert next(iter(facts)) in spoiled.detail


def test_a_picture_that_its_metadata_does_not_name_is_damaged(engine: Engine, shelf: Shelf) -> None:
    shelf.replace_picture(shelf.objects[shelf.image][:-9], named=False)
    assert found(engine, shelf).finding is Finding.DAMAGED


@pytest.mark.parametrize("document", [b"", b"[]", b"null", b"{}", b'{"image": null}', b"\xff", b"{"])
def test_unreadable_metadata_is_damaged(engine: Engine, shelf: Shelf, document: bytes) -> None:
    shelf.objects[shelf.metadata] = document
    assert found(engine, shelf).finding is Finding.DAMAGED


@pytest.mark.parametrize("png", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n half"])
def test_an_unreadable_picture_is_damaged_also_where_its_hash_is_right(
    engine: Engine, shelf: Shelf, png: bytes
) -> None:
    shelf.replace_picture(png)
    assert found(engine, shelf).finding is Finding.DAMAGED


def test_a_truncated_picture_whose_hash_is_right_is_damaged(engine: Engine, shelf: Shelf) -> None:
    shelf.replace_picture(shelf.objects[shelf.image][:-40])
    assert found(engine, shelf).finding is Finding.DAMAGED


def test_a_sample_is_taken_from_what_is_published(engine: Engine, shelf: Shelf) -> None:
    assert published_seeds(shelf, engine.info.id, 10) == list(SEEDS)  # type: ignore[arg-type]
    assert len(published_seeds(shelf, engine.info.id, 2)) == 2  # type: ignore[arg-type]
    del shelf.objects[shelf.metadata]
    assert BAD not in published_seeds(shelf, engine.info.id, 10)  # type: ignore[arg-type]
