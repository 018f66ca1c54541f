"""Checkpoint, config and tokenizer files: what is read, and how what cannot be used is refused."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import TINY, run_python, write_model
from worker.errors import CheckpointError, TokenizerError
from worker.model.checkpoint import load_checkpoint, save_checkpoint
from worker.model.config import PRESETS, ModelConfig
from worker.model.loaded import load_model
from worker.model.network import SeedNetwork, initialize
from worker.model.tokenizer import CaptionTokenizer, build_tokenizer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_model(tmp_path) / "best.pt"


def rewrite(path: Path, **changes: Any) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, **changes}, path)


def test_a_checkpoint_says_by_itself_what_it_is(checkpoint: Path) -> None:
    found = load_checkpoint(checkpoint)
    assert found.config == TINY
    assert not found.trained
    assert found.parameters == sum(p.numel() for p in SeedNetwork(TINY).parameters())


def test_a_network_is_made_without_the_compiler_of_pytorch(checkpoint: Path) -> None:
    code = "import sys; from worker.model.checkpoint import load_checkpoint as load; load(sys.argv[1]).build()"
    done = run_python("-c", f"{code}; print('torch._dynamo' in sys.modules)", str(checkpoint))
    assert done.stdout.strip() == "False", done.stderr


def test_equal_weights_give_equal_files_whatever_their_name(tmp_path: Path) -> None:
    network = SeedNetwork(TINY)
    initialize(network, 3)
    for name in ("one.pt", "two.pt"):
        save_checkpoint(tmp_path / name, network, trained=True)
    assert load_checkpoint(tmp_path / "one.pt").sha256 == load_checkpoint(tmp_path / "two.pt").sha256


def test_random_weights_depend_on_their_seed_alone() -> None:
    first, again, other = (SeedNetwork(TINY) for _ in range(3))
    initialize(first, 1)
    torch.rand(5)
    initialize(again, 1)
    initialize(other, 2)
    states = [network.state_dict() for network in (first, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_a_missing_checkpoint_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pt.*git checkout"):
        load_checkpoint(tmp_path / "nowhere.pt")


def test_of_two_missing_files_the_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pt"):
        load_model(tmp_path / "nowhere.pt", tmp_path / "tokenizer.json")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.pt: damaged"):
        load_checkpoint(path)


def test_a_truncated_checkpoint_is_refused(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(checkpoint)


class Trap:
    """Would leave a mark if it were ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("disguise", ["raw pickle", "inside a torch file"])
def test_a_pickle_in_disguise_is_refused_and_not_run(tmp_path: Path, disguise: str) -> None:
    path, mark = tmp_path / "best.pt", tmp_path / "mark"
    if disguise == "raw pickle":
        path.write_bytes(pickle.dumps(Trap(mark)))
    else:
        torch.save({"format": Trap(mark)}, path)
    with pytest.raises(CheckpointError, match="pickle"):
        load_checkpoint(path)
    assert not mark.exists()


def test_a_plain_state_dict_is_refused_with_what_was_found(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"layer\.weight"):
        load_checkpoint(tmp_path / "best.pt")


def test_another_architecture_is_refused_by_both_names(checkpoint: Path) -> None:
    rewrite(checkpoint, architecture="somebody.else/3")
    with pytest.raises(CheckpointError, match=r"somebody\.else/3.*seedmill\.decoder/1"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("picture", {**TINY.picture.model_dump(), "blocks": [1]}, "blocks"),
        ("text", {**TINY.text.model_dump(), "heads": 3}, "heads"),
        ("text", {**TINY.text.model_dump(), "eos_id": 1266}, "eos_id"),
        ("latent_dim", -1, "latent_dim"),
        ("latent_dim", 10**30, "latent_dim"),
        ("picture", {**TINY.picture.model_dump(), "start": 10**9}, "start"),
        ("picture", {**TINY.picture.model_dump(), "start": 1024, "shuffle": 16}, "too large"),
        ("picture", {**TINY.picture.model_dump(), "blocks": [10**9, 1]}, "blocks"),
        ("invented", 1, "invented"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused_by_the_field(
    checkpoint: Path, field: str, value: Any, word: str
) -> None:
    rewrite(checkpoint, config={**TINY.model_dump(mode="json"), field: value})
    with pytest.raises(CheckpointError, match=word):
        load_checkpoint(checkpoint)


def test_weights_of_another_network_are_refused_by_name(checkpoint: Path) -> None:
    state = dict(torch.load(checkpoint, weights_only=True)["model_state_dict"])
    state["picture.stem.weight"] = torch.zeros(3, 3)
    del state["text.head.bias"]
    state["stowaway"] = torch.zeros(1)
    rewrite(checkpoint, model_state_dict=state)
    with pytest.raises(CheckpointError, match=r"text\.head\.bias.*stowaway.*picture\.stem\.weight") as caught:
        load_checkpoint(checkpoint).build()
    assert "(3, 3)" in str(caught.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weight: weight * torch.nan,
        lambda weight: torch.full_like(weight, torch.inf),
        lambda weight: weight.int(),
        lambda weight: weight.to_sparse(),
        lambda weight: weight.to("meta"),
        lambda weight: "text",
    ],
)
def test_weights_that_cannot_be_computed_with_are_refused(checkpoint: Path, spoil: Any) -> None:
    state = dict(torch.load(checkpoint, weights_only=True)["model_state_dict"])
    state["text.head.weight"] = spoil(state["text.head.weight"])
    rewrite(checkpoint, model_state_dict=state)
    with pytest.raises(CheckpointError, match=r"best\.pt: "):
        load_checkpoint(checkpoint).build()


def test_a_flipped_bit_in_the_weights_is_noticed(checkpoint: Path) -> None:
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    checkpoint.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(checkpoint)


def test_a_config_of_absurd_size_is_refused_before_memory_is_taken(checkpoint: Path) -> None:
    picture = {**TINY.picture.model_dump(), "channels": [65_536, 65_536]}
    rewrite(checkpoint, config={**TINY.model_dump(mode="json"), "picture": picture})
    with pytest.raises(CheckpointError, match="another architecture than its config"):
        load_checkpoint(checkpoint).build()


def test_the_large_preset_has_the_size_of_the_reference_model() -> None:
    with torch.device("meta"):
        network = SeedNetwork(PRESETS["large"])
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 85e6 < parameters < 90e6
    assert (PRESETS["large"].latent_dim, PRESETS["large"].vocab_size, PRESETS["large"].image_size) == (1024, 1266, 256)


def test_the_checkpoint_that_ships_is_trained_and_fits_into_a_repository(demo_model: Path) -> None:
    assert (demo_model / "best.pt").stat().st_size <= 16_000_000
    checkpoint = load_checkpoint(demo_model / "best.pt")
    assert checkpoint.trained
    assert checkpoint.config == PRESETS["demo"]
    assert checkpoint.config.image_size == 256
    assert (demo_model / "tokenizer.json").read_text() == build_tokenizer().to_str(pretty=True)


def test_a_config_survives_its_journey_through_a_checkpoint() -> None:
    for config in (*PRESETS.values(), TINY):
        assert ModelConfig.read(json.loads(json.dumps(config.model_dump(mode="json")))) == config


def test_the_demo_tokenizer_has_the_size_that_the_model_expects(tmp_path: Path) -> None:
    build_tokenizer().save(str(tmp_path / "tokenizer.json"))
    tokenizer = CaptionTokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.vocab_size == 1266
    words = ["<bos>", "an", "engraving", "of", "a", "portrait", "<eos>", "<pad>"]
    ids = [build_tokenizer().get_vocab()[word] for word in words]
    assert tokenizer.decode(ids) == "an engraving of a portrait"


def test_a_missing_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json.*git checkout"):
        CaptionTokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"model": 3}'])
def test_a_damaged_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        CaptionTokenizer(path)


@pytest.mark.parametrize("name", ["best.pt", "best.safetensors"])
def test_a_network_keeps_its_weights_whatever_happens_to_the_file(tmp_path: Path, name: str) -> None:
    first, second = SeedNetwork(TINY), SeedNetwork(TINY)
    initialize(first, 1)
    initialize(second, 2)
    save_checkpoint(tmp_path / name, first, trained=True)
    network = load_checkpoint(tmp_path / name).build()
    save_checkpoint(tmp_path / f"other-{name}", second, trained=True)
    with (tmp_path / name).open("r+b") as file:
        file.write((tmp_path / f"other-{name}").read_bytes())
    wanted = first.state_dict()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in network.state_dict().items())
    os.truncate(tmp_path / name, 10)
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in network.state_dict().items())


def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = torch.load
    data = checkpoint.read_bytes()

    def load(*arguments: Any, **options: Any) -> Any:
        checkpoint.write_bytes(data)
        return read(*arguments, **options)

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(CheckpointError, match="written to while it was read"):
        load_checkpoint(checkpoint)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(checkpoint: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(checkpoint) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, archive.read(entry))
    with pytest.raises(CheckpointError, match="compressed"):
        load_checkpoint(bomb)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(np.float64(0.2), "numpy"), (argparse.Namespace(a=1), "argparse.Namespace"), (Path("x"), "pathlib")],
)
def test_a_refusal_names_what_would_have_to_be_run(tmp_path: Path, value: object, kind: str) -> None:
    torch.save({"model_state_dict": {}, "best": value}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=rf"\(pickle of {kind}.*'model_state_dict': model\.state_dict\(\)"):
        load_checkpoint(tmp_path / "best.pt")


def test_a_name_that_would_forge_lines_in_a_pictures_text_is_refused(checkpoint: Path) -> None:
    rewrite(checkpoint, config={**TINY.model_dump(mode="json"), "name": "demo\nSeed: 1"})
    with pytest.raises(CheckpointError, match="name"):
        load_checkpoint(checkpoint)
