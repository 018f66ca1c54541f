"""From a generated picture to the two objects that are published: a PNG that tells its own story, and metadata JSON.

Both are pure functions of the seed and the model: no time, host or version goes in, so that writing twice writes the
same bytes. Knows nothing of the network or of storage.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from PIL.PngImagePlugin import PngInfo

from producer.contract import SCHEMA_VERSION
from worker.errors import EncodeError
from worker.files import json_document
from worker.model.generated import Generated, ModelInfo
from worker.png import Chunk, write_png

PNG_JSON_KEY = "seedmill"
"""PNG text chunk that holds our metadata as JSON."""

SOURCE_TYPES = {True: "trainedAlgorithmicMedia", False: "algorithmicMedia"}
"""IPTC DigitalSourceType of pictures from a trained and from an untrained model."""

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{source}"/>'
    "</rdf:RDF></x:xmpmeta>"
)
"""XMP packet that marks the picture as made by a program."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as a PNG file, with the SHA-256 and the size in pixels that its metadata names."""

    png: bytes
    sha256: str
    width: int
    height: int


def describe(seed: int, caption: str, model: ModelInfo) -> dict[str, Any]:
    """Return the facts of one generation that do not depend on where or when it ran."""
    return {
        "schema": SCHEMA_VERSION,
        "seed": seed,
        "caption": caption,
        "latent_dim": model.latent_dim,
        "image_size": [model.image_size, model.image_size],
        "device": model.device,
        "model": {
            "id": model.id,
            "name": model.name,
            "architecture": model.architecture,
            "precision": model.precision,
            "trained": model.trained,
            "checkpoint_sha256": model.checkpoint_sha256,
            "tokenizer_sha256": model.tokenizer_sha256,
        },
    }


def encode_png(generated: Generated, model: ModelInfo) -> Encoded:
    """Return the picture as a PNG with its text chunks.

    The chunks are ``parameters`` (the form that A1111-style viewers read), ``seedmill`` (the facts as JSON),
    ``Software``, and XMP that marks it as generated. No time is written, so equal pixels give equal bytes; see
    worker/png.py for where that ends.

    Raises:
        EncodeError: if the pixels are not a picture.
    """
    try:
        png = write_png(generated.pixels, _png_text(generated, model))
    except ValueError as error:
        raise EncodeError(f"seed {generated.seed}: {error}") from error
    height, width, _ = generated.pixels.shape
    return Encoded(png, hashlib.sha256(png).hexdigest(), width, height)


def encode_metadata(generated: Generated, model: ModelInfo, encoded: Encoded, image_key: str) -> bytes:
    """Return the metadata object: UTF-8 JSON, keys in order."""
    return json_document(metadata_of(generated, model, encoded, image_key))


def metadata_of(generated: Generated, model: ModelInfo, encoded: Encoded, image_key: str) -> dict[str, Any]:
    """Return what the metadata object says: the facts, and the picture's key, SHA-256 and size."""
    facts = describe(generated.seed, generated.caption, model)
    facts["image"] = {
        "key": image_key,
        "sha256": encoded.sha256,
        "bytes": len(encoded.png),
        "width": encoded.width,
        "height": encoded.height,
    }
    return facts


def _png_text(generated: Generated, model: ModelInfo) -> list[Chunk]:
    """Return the text chunks; Pillow knows which form suits which text."""
    facts = json.dumps(describe(generated.seed, generated.caption, model), ensure_ascii=False)
    size = f"{model.image_size}x{model.image_size}"
    parameters = (
        f"{generated.caption}\nSteps: 1, Sampler: seedmill, Seed: {generated.seed}, Size: {size}, "
        f"Model: {model.name}, Model hash: {model.checkpoint_sha256[:10]}"
    )
    text = PngInfo()
    text.add_text("parameters", parameters)
    text.add_text(PNG_JSON_KEY, facts)
    text.add_text("Software", "seedmill")
    text.add_itxt("XML:com.adobe.xmp", XMP.format(source=SOURCE_TYPES[model.trained]))
    return [(chunk[0], chunk[1]) for chunk in text.chunks]
