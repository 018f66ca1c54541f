"""A user's own network: built, loaded, tried out, and served like the built-in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import write_model
from tests.unit.users import CONFIG, User
from worker.errors import ArchitectureError, SetupError
from worker.inference import MultimodalGenerator
from worker.model.engine import Engine


def test_a_users_network_makes_pictures_and_captions(user: User) -> None:
    generator = MultimodalGenerator(
        user.weights, user.folder / "tokenizer.json", 12, device="cpu", architecture=f"{user.module}:Net"
    )
    image, caption, facts = generator.generate_with_metadata(42)
    assert (image.mode, image.size) == ("RGB", (8, 8))
    assert len(caption.split()) == 6
    assert facts["model"]["architecture"].startswith(f"{user.module}:Net@")
    assert facts["model"]["id"].startswith("net-")


@pytest.mark.parametrize("name", ["Net", "Halves", "Configured", "Free", "Keeping", "Greedy", "Fourier"])
def test_every_way_to_be_built_and_to_decode_gives_the_same_bits_in_any_company(user: User, name: str) -> None:
    engine = user.load(name, threads=4)
    together = engine.generate(range(40))
    other = user.load(name, threads=1)
    assert engine.info.id == other.info.id
    for wanted in together[::3]:
        (alone,) = other.generate([wanted.seed])
        assert alone.caption == wanted.caption
        assert np.array_equal(alone.pixels, wanted.pixels)


def test_uint8_pictures_are_taken_as_they_are(user: User) -> None:
    (wanted,) = user.load().generate([7])
    user.write(pictures="(pictures * 255).round().to(torch.uint8)")
    assert np.array_equal(user.load().generate([7])[0].pixels, wanted.pixels)


@pytest.mark.parametrize(
    ("pictures", "tokens", "words"),
    [
        ("pictures * 2 - 1", "tokens", r"not in \[0, 1\].*\(x \+ 1\) / 2"),
        ("pictures * torch.nan", "tokens", r"not in \[0, 1\]"),
        ("pictures[:, :1]", "tokens", r"pictures \(1, 1, 8, 8\), not \[1, 3, H, H\]"),
        ("pictures[:, :, :4]", "tokens", r"pictures \(1, 3, 4, 8\)"),
        ("pictures.long()", "tokens", "torch.int64, not floating point or uint8"),
        ("pictures", "tokens.float()", "not int64"),
        ("pictures", "tokens[0]", "not int64"),
        ("pictures", "tokens + 1266", "the tokenizer has 1266 tokens"),
        ("pictures", "tokens - 1266", "returns token -"),
        ("pictures", "undefined", "fails in decode on latents.*NameError"),
        ("{'image': pictures}", "tokens", "pictures as dict, not as a tensor"),
        ("pictures.numpy()", "tokens", "pictures as ndarray"),
        ("pictures", "tokens[:, :0]", "no tokens"),
    ],
)
def test_what_decode_returns_wrongly_is_named_when_it_is_loaded(
    user: User, pictures: str, tokens: str, words: str
) -> None:
    user.write(pictures, tokens)
    with pytest.raises(ArchitectureError, match=words):
        user.load()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Missing", "has no 'Missing'; its modules are Net, Halves"),
        ("Silent", r"no method decode\(latents\)"),
        ("torch", "no class of torch.nn.Module"),
        ("Tanh", r"not in \[0, 1\]"),
        ("Squeezing", r"pictures \(3, 8, 8\), not \[1, 3, H, H\]"),
        ("Net()", "write module:Class"),
    ],
)
def test_a_class_that_cannot_be_used_is_refused_with_what_is_missing(user: User, name: str, words: str) -> None:
    with pytest.raises(ArchitectureError, match=words):
        user.load(name)


def test_what_the_constructor_needs_and_the_checkpoint_has_not_is_named(user: User) -> None:
    user.save({"model_state_dict": user.net.state_dict()})
    with pytest.raises(ArchitectureError, match="built with config, which the checkpoint's config does not have"):
        user.load("Configured")


def test_dimensions_that_disagree_are_refused_with_both_numbers(user: User) -> None:
    with pytest.raises(ArchitectureError, match="latent_dim=12, but 1024 was asked for"):
        user.load(latent_dim=1024)
    user.save({"model_state_dict": user.net.state_dict(), "config": {**CONFIG, "vocab_size": 50}})
    with pytest.raises(ArchitectureError, match="vocab_size=50, but the tokenizer has 1266"):
        user.load()


def test_a_network_that_draws_random_numbers_is_refused_when_it_is_loaded(user: User) -> None:
    with pytest.raises(SetupError, match="draws random numbers"):
        user.load("Noisy")


def test_a_network_in_which_a_row_depends_on_its_place_is_computed_row_by_row(user: User) -> None:
    engine = user.load("Social")
    together = engine.generate(range(9))
    assert [one.caption for one in together] == [engine.generate([seed])[0].caption for seed in range(9)]


@pytest.mark.parametrize("name", ["Net", "Halves"])
def test_bfloat16_is_another_model_with_almost_the_same_pictures(user: User, name: str) -> None:
    full, half = user.load(name), user.load(name, precision="bf16")
    assert full.info.id != half.info.id
    first, second = full.generate([3])[0].pixels, half.generate([3])[0].pixels
    assert 0 < np.abs(first.astype(int) - second.astype(int)).max() < 12


def test_bfloat16_of_the_built_in_networks_keeps_pictures_close(demo_model: Path, tmp_path: Path) -> None:
    for folder in (demo_model, write_model(tmp_path)):
        files = (folder / "best.pt", folder / "tokenizer.json")
        full, half = (Engine(*files, device="cpu", precision=precision) for precision in ("fp32", "bf16"))
        half.self_check()
        first, second = full.generate([3])[0].pixels, half.generate([3])[0].pixels
        assert 0 < np.abs(first.astype(int) - second.astype(int)).mean() < 3
