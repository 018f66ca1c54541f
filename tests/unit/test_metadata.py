"""The metadata object as the API reads it: what a worker has written, and nothing that only looks like it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from producer.api.metadata import parse_metadata
from tests.unit.fakes import MODEL, picture
from worker.encode import encode_metadata, encode_png

DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no object": lambda facts: [facts],
    "of another seed": lambda facts: {**facts, "seed": 8},
    "of a later release": lambda facts: {**facts, "schema": 2},
    "of none": lambda facts: {name: value for name, value in facts.items() if name != "schema"},
    "without a picture": lambda facts: {**facts, "image": None},
    "a number that is a text": lambda facts: {**facts, "image": {**facts["image"], "width": "16"}},
    "no checksum": lambda facts: {**facts, "image": {**facts["image"], "sha256": "x"}},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_metadata_that_cannot_be_read_is_none(damage: str) -> None:
    facts = json.loads(encode_metadata(picture(7), MODEL, encode_png(picture(7), MODEL), "key"))
    assert parse_metadata(json.dumps(facts).encode(), 7) is not None
    assert parse_metadata(json.dumps(DAMAGES[damage](facts)).encode(), 7) is None


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[" * 60_000, b"null"], ids=str)
def test_what_is_no_json_is_no_metadata(content: bytes | None) -> None:
    assert parse_metadata(content, 7) is None
