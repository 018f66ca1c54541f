"""A user's own network: found by its dotted path, built, loaded, tried out, and served like the built-in one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.support import TINY, write_model
from worker.errors import ArchitectureError, CheckpointError, SetupError
from worker.inference import MultimodalGenerator
from worker.model.checkpoint import load_checkpoint, save_checkpoint
from worker.model.engine import Engine
from worker.model.network import SeedNetwork, initialize
from worker.model.tokenizer import build_tokenizer

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, latent_dim, vocab_size, width=24):
        super().__init__()
        self.picture = nn.Sequential(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, 3 * 8 * 8))
        self.words = nn.Linear(latent_dim, 6 * vocab_size)
        self.vocab_size = vocab_size

    def decode(self, latents):
        pictures = torch.sigmoid(self.picture(latents)).view(-1, 3, 8, 8)
        tokens = self.words(latents).view(len(latents), 6, self.vocab_size)[:, :, 4:].argmax(-1) + 4
        return PICTURES, TOKENS


class Halves(Net):
    def decode_pictures(self, latents):
        return self.decode(latents)[0]

    def decode_tokens(self, latents):
        return self.decode(latents)[1]


class Configured(Net):
    def __init__(self, config):
        super().__init__(config["latent_dim"], config["vocab_size"], config["width"])


class Silent(nn.Module):
    pass


class Keeping(Net):
    def decode(self, latents):
        self.kept = latents.clone()
        pictures, tokens = super().decode(latents)
        latents.zero_()
        return torch.sigmoid(self.picture(self.kept)).view(-1, 3, 8, 8), tokens


class Greedy(Net):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return pictures, tokens[:, : 2 + int(tokens[0, 0]) % 4]


class Fourier(Net):
    def __init__(self, latent_dim, vocab_size):
        super().__init__(latent_dim, vocab_size)
        self.frequencies = torch.randn(8)

    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return pictures * torch.sigmoid(self.frequencies), tokens


class Free(Net):
    def __init__(self, **settings):
        super().__init__(settings["latent_dim"], settings["vocab_size"], settings["width"])


class Outer(nn.Module):
    def __init__(self, latent_dim, vocab_size):
        super().__init__()
        self.model = Net(latent_dim, vocab_size)

    def decode(self, latents):
        return self.model.decode(latents)


class Tanh(Net):
    def decode_pictures(self, latents):
        return self.decode(latents)[0] * 2 - 1

    def decode_tokens(self, latents):
        return self.decode(latents)[1]


class Squeezing(Net):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return pictures.squeeze(0), tokens


class Noisy(Net):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return (pictures + torch.rand_like(pictures)) / 2, tokens


class Social(Net):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return pictures, (tokens + torch.arange(len(tokens))[:, None]) % self.vocab_size
"""
CONFIG = {"latent_dim": 12, "vocab_size": 1266, "width": 24}


class Net(nn.Module):
    """The weights of the file above, for a test to save."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 192))
        self.words = nn.Linear(12, 6 * 1266)


class User:
    """Writes an architecture file, a checkpoint and a tokenizer, as a user would."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.folder, self.net = folder, Net()
        self.module = f"architecture_{uuid.uuid4().hex}"
        self.weights = folder / "best.pt"
        build_tokenizer().save(str(folder / "tokenizer.json"))
        self.write()
        self.save({"model_state_dict": self.net.state_dict(), "config": CONFIG})

    def write(self, pictures: str = "pictures", tokens: str = "tokens") -> None:
        source = SOURCE.replace("PICTURES", pictures).replace("TOKENS", tokens)
        (self.folder / f"{self.module}.py").write_text(source)

    def save(self, content: Any) -> None:
        torch.save(content, self.weights)

    def load(self, name: str = "Net", **options: Any) -> Engine:
        options = {"architecture": f"{self.module}:{name}", "device": "cpu", **options}
        return Engine(self.weights, self.folder / "tokenizer.json", **options)


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


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


WRAPPED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the top of the file": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state},
    "model_state_dict, prefix 'module.' removed": lambda state: {
        "model_state_dict": {f"module.{name}": tensor for name, tensor in state.items()}
    },
    "state_dict, prefix 'model.' removed": lambda state: {
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()}
    },
    "state_dict, prefix '_orig_mod.module.' removed": lambda state: {
        "state_dict": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()}
    },
    "the top of the file, prefix 'module.' removed": lambda state: {
        "n_averaged": torch.tensor(3),
        **{f"module.{name}": tensor for name, tensor in state.items()},
    },
    "state_dict_ema": lambda state: {
        "state_dict": {name: 0 * tensor for name, tensor in state.items()},
        "state_dict_ema": state,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}},
    },
    "state_dict, prefix 'ema_model.' removed": lambda state: {
        "state_dict": {
            **{f"model.{name}": 0 * tensor for name, tensor in state.items()},
            **{f"ema_model.{name}": tensor for name, tensor in state.items()},
        }
    },
    "model_state_dict": lambda state: {"model_state_dict": state, "ema": {"decay": torch.tensor(0.999)}},
    "ema_state_dict": lambda state: {
        "ema_state_dict": state,
        "model_state_dict": {name: 0 * tensor for name, tensor in state.items()},
    },
}


@pytest.mark.parametrize("where", WRAPPED)
def test_weights_are_found_wherever_training_code_puts_them_and_it_is_said_where(user: User, where: str) -> None:
    (wanted,) = user.load().generate([7])
    user.save(WRAPPED[where](dict(user.net.state_dict())))
    engine = user.load(latent_dim=12)
    assert engine.info.weights == where
    assert np.array_equal(engine.generate([7])[0].pixels, wanted.pixels)


def test_safetensors_are_read_and_a_config_may_travel_in_their_metadata(user: User) -> None:
    (wanted,) = user.load().generate([7])
    user.weights = user.folder / "best.safetensors"
    save_file(user.net.state_dict(), user.weights, metadata={"config": '{"latent_dim": 12, "width": 24}'})
    (found,) = user.load("Net").generate([7])
    assert np.array_equal(found.pixels, wanted.pixels)
    user.weights.write_bytes(user.weights.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=r"best\.safetensors: damaged"):
        user.load()


def test_a_checkpoint_of_the_built_in_network_may_be_safetensors_too(tmp_path: Path) -> None:
    network = SeedNetwork(TINY)
    initialize(network, 5)
    save_checkpoint(tmp_path / "best.safetensors", network, trained=True)
    found = load_checkpoint(tmp_path / "best.safetensors")
    assert (found.config, found.trained) == (TINY, True)
    wanted = network.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.build().state_dict().items())


def test_uint8_pictures_are_taken_as_they_are(user: User) -> None:
    (wanted,) = user.load().generate([7])
    user.write(pictures="(pictures * 255).round().to(torch.uint8)")
    assert np.array_equal(user.load().generate([7])[0].pixels, wanted.pixels)


def test_a_class_that_keeps_its_network_in_an_attribute_called_model_is_loaded_as_it_is(user: User) -> None:
    state = {f"model.{name}": tensor for name, tensor in user.net.state_dict().items()}
    (wanted,) = user.load().generate([7])
    user.save({"state_dict": state, "config": CONFIG})
    assert np.array_equal(user.load("Outer").generate([7])[0].pixels, wanted.pixels)


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


def test_a_file_that_is_not_there_or_does_not_import_is_named_with_where_it_was_looked_for(user: User) -> None:
    with pytest.raises(ArchitectureError, match=rf"absent\.py was not found in {user.folder}"):
        user.load(architecture="absent:Net")
    (user.folder / f"{user.module}.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(ArchitectureError, match="needs 'a_package_that_is_not_there'"):
        user.load()
    for line, words in (("1 / 0", "ZeroDivisionError"), ("raise SystemExit(0)", "SystemExit")):
        (user.folder / f"{user.module}.py").write_text(line)
        with pytest.raises(ArchitectureError, match=words):
            user.load()
    with pytest.raises(ArchitectureError, match=r"time\.py was not found"):
        user.load(architecture="time:Net")


def test_what_a_users_file_prints_is_kept_out_of_our_output(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    path = user.folder / f"{user.module}.py"
    path.write_text(f"print('loading')\n{path.read_text()}")
    user.load()
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "loading\n")


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


def test_weights_of_another_class_are_refused_by_name(user: User) -> None:
    state = dict(user.net.state_dict())
    del state["words.bias"]
    user.save({"model_state_dict": state, "config": CONFIG})
    with pytest.raises(CheckpointError, match=r"than architecture_\w+:Net: 1 missing \(words\.bias"):
        user.load()


LOOP: dict[str, Any] = {}
LOOP["model"] = LOOP


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"model": "a path"}, {}, LOOP])
def test_a_file_without_a_state_dict_is_refused_with_what_was_found(user: User, content: Any) -> None:
    user.save(content)
    with pytest.raises(CheckpointError, match="no state dict was found"):
        user.load(latent_dim=12)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda weight: weight.to(torch.float8_e4m3fn), "no plain tensor"),
        (lambda weight: torch.zeros(1).expand(weight.shape), "no plain tensor"),
        (lambda weight: weight.to(torch.complex64), "no plain tensor"),
        (lambda weight: weight.long(), "no plain tensor"),
        (lambda weight: weight[:1], "another shape"),
        (lambda weight: weight * torch.nan, "not finite"),
    ],
)
def test_weights_that_cannot_be_computed_with_are_refused(user: User, spoil: Any, words: str) -> None:
    state = dict(user.net.state_dict())
    state["picture.0.weight"] = spoil(state["picture.0.weight"])
    user.save({"model_state_dict": state, "config": CONFIG})
    with pytest.raises(CheckpointError, match=words):
        user.load()


def test_a_network_that_draws_random_numbers_is_refused_when_it_is_loaded(user: User) -> None:
    with pytest.raises(SetupError, match="draws random numbers"):
        user.load("Noisy")


def test_a_network_in_which_a_row_depends_on_its_place_is_computed_row_by_row(user: User) -> None:
    engine = user.load("Social")
    together = engine.generate(range(9))
    assert [one.caption for one in together] == [engine.generate([seed])[0].caption for seed in range(9)]


def test_the_model_id_and_the_results_follow_the_code(user: User) -> None:
    first = user.load()
    assert user.load().info.id == first.info.id
    user.write(pictures="pictures / 2")
    second = user.load()
    assert second.info.id != first.info.id
    assert second.generate([3])[0].pixels.mean() < first.generate([3])[0].pixels.mean()


def test_two_classes_of_the_same_name_in_two_folders_are_two_models(user: User, tmp_path: Path) -> None:
    first = user.load()
    (tmp_path / "other").mkdir()
    other = User(tmp_path / "other")
    other.module = user.module
    other.write(pictures="pictures / 2")
    assert other.load().info.id != first.info.id
    assert other.load().generate([3])[0].pixels.mean() < first.generate([3])[0].pixels.mean()


def test_the_model_id_follows_the_code_of_helpers_in_the_same_folder(user: User) -> None:
    helper = user.folder / f"helper_{user.module}.py"
    helper.write_text("def shade(x):\n    return x\n")
    path = user.folder / f"{user.module}.py"
    path.write_text(f"from {helper.stem} import shade\n{path.read_text()}")
    first = user.load().info.id
    helper.write_text("def shade(x):\n    return x / 2\n")
    assert user.load().info.id != first


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
