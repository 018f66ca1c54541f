"""The grammar of the demo's captions."""

from __future__ import annotations

import pytest

from checkpoints.evaluate import named
from checkpoints.train.attributes import DETAILS, SCENES, STYLES
from checkpoints.train.captions import every_caption, write
from worker.model.config import PRESETS
from worker.model.tokenizer import build_tokenizer

CAPTIONS = sorted(every_caption())


def test_every_caption_has_5_to_20_words_and_fits_the_decoder() -> None:
    lengths = [len(caption.split()) for caption in CAPTIONS]
    text = PRESETS["demo"].text
    assert text.min_tokens <= min(lengths)
    assert max(lengths) <= text.max_tokens
    assert 5 <= min(lengths) <= max(lengths) <= 20


def test_every_caption_names_one_scene_and_one_style() -> None:
    assert all(named(caption, SCENES) >= 0 and named(caption, STYLES) >= 0 for caption in CAPTIONS)
    assert all(any(detail in caption for details in DETAILS.values() for detail in details) for caption in CAPTIONS)


def test_the_tokenizer_writes_every_caption_as_it_is() -> None:
    tokenizer = build_tokenizer()
    for caption in CAPTIONS[::7]:
        encoding = tokenizer.encode(caption)
        assert "<unk>" not in encoding.tokens
        assert tokenizer.decode(encoding.ids) == caption


@pytest.mark.parametrize(
    ("numbers", "caption"),
    [
        ((1, 2, 0, 1, 1, 0), "an engraving of a seascape at dawn with a lighthouse in black ink"),
        ((5, 0, 3, 3, 1, 3), "an oil painting in vivid colors of an abstract composition with sharp triangles"),
        ((3, 5, 1, 5, 2, 6), "a pointillist painting of a still life in pale pink tones with a bouquet of flowers"),
    ],
)
def test_a_caption_says_what_is_asked_for(numbers: tuple[int, ...], caption: str) -> None:
    assert write(*numbers) == caption


@pytest.mark.parametrize(("caption", "found"), [("a portrait", 2), ("a map", -1), ("a portrait and a seascape", -1)])
def test_a_caption_that_names_none_or_several_names_nothing(caption: str, found: int) -> None:
    assert named(caption, SCENES) == found
