"""The two objects of a seed: a PNG that tells its own story, and its metadata."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.unit.fakes import MODEL, picture
from worker.encode import XMP, describe, encode_metadata, encode_png
from worker.errors import EncodeError


def read(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def test_pillow_reads_every_pixel_back() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    encoded = encode_png(replace(picture(7), pixels=noise), MODEL)
    assert np.array_equal(np.asarray(read(encoded.png)), noise)
    assert (encoded.width, encoded.height) == (256, 256)
    assert encoded.sha256 == hashlib.sha256(encoded.png).hexdigest()


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kind=st.sampled_from(["noise", "flat", "ramp", "other order"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_pillow_reads_back_pictures_of_every_size_and_content(shape: tuple[int, int], kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    if kind == "flat":
        pixels[:] = pixels[0, 0]
    elif kind == "ramp":
        pixels = np.cumsum(np.ones_like(pixels), axis=1, dtype=np.uint8)
    elif kind == "other order":  # as a network leaves them
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0)
    encoded = encode_png(replace(picture(7), pixels=pixels), MODEL)
    assert np.array_equal(np.asarray(read(encoded.png)), pixels)
    assert (encoded.height, encoded.width) == shape


def test_the_same_picture_gives_the_same_bytes() -> None:
    assert encode_png(picture(7), MODEL) == encode_png(picture(7), MODEL)
    assert encode_png(picture(7), MODEL).sha256 != encode_png(picture(8), MODEL).sha256


def test_a1111_style_viewers_find_caption_and_seed() -> None:
    parameters = read(encode_png(picture(7), MODEL).png).info["parameters"]
    caption, facts = parameters.split("\n")
    assert caption == "caption of 7"
    assert "Seed: 7," in facts
    assert "Size: 16x16" in facts
    assert f"Model hash: {MODEL.checkpoint_sha256[:10]}" in facts


def test_our_own_json_is_inside() -> None:
    facts = json.loads(read(encode_png(picture(7), MODEL).png).info["seedmill"])
    assert (facts["seed"], facts["caption"], facts["model"]["id"]) == (7, "caption of 7", MODEL.id)


def test_the_picture_is_marked_as_made_by_a_model() -> None:
    info = read(encode_png(picture(7), MODEL).png).info
    packet = info["XML:com.adobe.xmp"]
    assert "DigitalSourceType" in packet
    assert "trainedAlgorithmicMedia" in packet


def test_no_reader_is_told_that_this_is_a_workflow_of_another_program() -> None:
    assert not {"prompt", "workflow", "invokeai_metadata"} & set(read(encode_png(picture(7), MODEL).png).info)


def test_captions_beyond_latin_survive() -> None:
    encoded = encode_png(replace(picture(7), caption="море — 海"), MODEL)
    assert read(encoded.png).info["parameters"].startswith("море — 海\n")


def test_metadata_names_the_picture_and_the_model() -> None:
    encoded = encode_png(picture(7), MODEL)
    facts: dict[str, Any] = json.loads(encode_metadata(picture(7), MODEL, encoded, "m/7.png"))
    assert facts["seed"] == 7
    assert facts["caption"] == "caption of 7"
    assert facts["latent_dim"] == MODEL.latent_dim
    assert facts["image_size"] == [16, 16]
    assert facts["device"] == "cpu"
    assert facts["model"]["id"] == MODEL.id
    assert facts["image"] == {
        "key": "m/7.png",
        "sha256": encoded.sha256,
        "bytes": len(encoded.png),
        "width": 16,
        "height": 16,
    }


def test_nothing_else_is_inside_that_could_tell_when_or_where_it_was_made() -> None:
    encoded = encode_png(picture(7), MODEL)
    kinds = {encoded.png[at + 4 : at + 8] for at in chunk_offsets(encoded.png)}
    assert kinds == {b"IHDR", b"tEXt", b"iTXt", b"IDAT", b"IEND"}
    info = read(encoded.png).info
    assert set(info) == {"parameters", "seedmill", "Software", "XML:com.adobe.xmp", "xmp"}
    assert json.loads(info["seedmill"]) == describe(7, "caption of 7", MODEL)
    assert info["Software"] == "seedmill"
    assert info["XML:com.adobe.xmp"] == XMP.format(source="trainedAlgorithmicMedia")
    facts = json.loads(encode_metadata(picture(7), MODEL, encoded, "k"))
    assert set(facts) == {"schema", "seed", "caption", "latent_dim", "image_size", "device", "model", "image"}
    assert set(facts["model"]) <= {field.name for field in fields(MODEL)}


def chunk_offsets(png: bytes) -> list[int]:
    offsets, at = [], 8
    while at < len(png):
        offsets.append(at)
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return offsets


def test_a_picture_of_an_untrained_model_is_not_called_trained() -> None:
    info = read(encode_png(picture(7), replace(MODEL, trained=False)).png).info
    assert "digitalsourcetype/algorithmicMedia" in info["XML:com.adobe.xmp"]


@pytest.mark.parametrize(
    "pixels",
    [
        *(np.zeros(shape, np.uint8) for shape in ((4, 4, 7), (4, 4), (0, 4, 3), (4, 0, 3), (1, 4, 4, 3))),
        np.zeros((4, 4, 3), np.float32),
        np.zeros(5, np.complex128),
    ],
)
def test_what_is_no_picture_is_refused_by_its_seed(pixels: Any) -> None:
    with pytest.raises(EncodeError, match="seed 7"):
        encode_png(replace(picture(7), pixels=pixels), MODEL)
