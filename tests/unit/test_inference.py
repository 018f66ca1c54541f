"""The generator of the seed document: constructor, three methods, and what they refuse."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from producer.errors import InvalidSeed
from worker.errors import CheckpointError, DeviceError, TokenizerError
from worker.inference import MultimodalGenerator


@pytest.fixture(scope="module")
def generator(demo_model: Path) -> MultimodalGenerator:
    return MultimodalGenerator(demo_model / "best.pt", demo_model / "tokenizer.json", device="cpu")


def test_the_constructor_has_the_arguments_and_defaults_that_were_promised() -> None:
    parameters = inspect.signature(MultimodalGenerator).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "checkpoint_path": "checkpoints/best.pt",
        "tokenizer_path": "checkpoints/tokenizer.json",
        "latent_dim": 1024,
        "vocab_size": 1266,
        "device": None,
        "architecture": None,
        "precision": "fp32",
    }


def test_an_unknown_precision_is_refused(demo_model: Path) -> None:
    precision: Any = "fp16"
    with pytest.raises(CheckpointError, match=r"'fp16'.*'fp32' or 'bf16'"):
        MultimodalGenerator(demo_model / "best.pt", demo_model / "tokenizer.json", device="cpu", precision=precision)


def test_a_seed_gives_a_picture_and_a_caption(generator: MultimodalGenerator) -> None:
    image, caption = generator.generate(42)
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (256, 256))
    assert 5 <= len(caption.split()) <= 20


def test_metadata_has_the_facts(generator: MultimodalGenerator) -> None:
    image, caption, facts = generator.generate_with_metadata(42)
    assert {name: facts[name] for name in ("seed", "caption", "latent_dim", "image_size", "device")} == {
        "seed": 42,
        "caption": caption,
        "latent_dim": 1024,
        "image_size": [256, 256],
        "device": "cpu",
    }
    assert image.size == tuple(facts["image_size"])


@pytest.mark.parametrize("seeds", [[42, 7, 42], range(40, 45)])
def test_a_batch_gives_what_each_seed_gives_alone(generator: MultimodalGenerator, seeds: Any) -> None:
    batch = generator.generate_batch(seeds)
    assert [facts["seed"] for _, _, facts in batch] == list(seeds)
    for image, caption, facts in batch:
        alone, alone_caption = generator.generate(facts["seed"])
        assert image.tobytes() == alone.tobytes()
        assert caption == alone_caption == facts["caption"]


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.5, "42", None])
def test_what_is_no_seed_is_refused(generator: MultimodalGenerator, seed: Any) -> None:
    with pytest.raises(InvalidSeed):
        generator.generate(seed)
    with pytest.raises(InvalidSeed):
        generator.generate_batch([1, seed])


@pytest.mark.parametrize(
    ("option", "value", "error", "words"),
    [
        ("latent_dim", 512, CheckpointError, r"512.*1024"),
        ("vocab_size", 100, CheckpointError, r"100.*1266"),
        ("device", "tpu", DeviceError, "tpu"),
        ("checkpoint_path", "nowhere.pt", CheckpointError, r"nowhere\.pt"),
        ("tokenizer_path", "nowhere.json", TokenizerError, r"nowhere\.json"),
    ],
)
def test_what_contradicts_the_files_is_refused(
    demo_model: Path, option: str, value: Any, error: type[Exception], words: str
) -> None:
    files = {"checkpoint_path": demo_model / "best.pt", "tokenizer_path": demo_model / "tokenizer.json"}
    with pytest.raises(error, match=words):
        MultimodalGenerator(**{**files, option: value})
