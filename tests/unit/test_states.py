"""The weights of a user's network are found wherever training code puts them, or it is said why they are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support import TINY
from tests.unit.users import CONFIG, User
from worker.errors import CheckpointError
from worker.model.checkpoint import load_checkpoint, save_checkpoint
from worker.model.network import SeedNetwork, initialize

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


def test_a_class_that_keeps_its_network_in_an_attribute_called_model_is_loaded_as_it_is(user: User) -> None:
    state = {f"model.{name}": tensor for name, tensor in user.net.state_dict().items()}
    (wanted,) = user.load().generate([7])
    user.save({"state_dict": state, "config": CONFIG})
    assert np.array_equal(user.load("Outer").generate([7])[0].pixels, wanted.pixels)


def test_weights_of_another_class_are_refused_by_name(user: User) -> None:
    state = dict(user.net.state_dict())
    del state["words.bias"]
    user.save({"model_state_dict": state, "config": CONFIG})
    with pytest.raises(CheckpointError, match=r"than architecture_\w+:Net \(.*\): 1 missing \(words\.bias"):
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


def zeros(state: dict[str, Any]) -> dict[str, Any]:
    return {name: 0 * tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("where", "wrap"),
    [
        ("model_state_dict", lambda state: {"optimizer": {"exp_avg": zeros(state)}, "model_state_dict": state}),
        ("model_state_dict", lambda state: {"initial_state": zeros(state), "model_state_dict": state}),
        ("model_state_dict", lambda state: {"model_state_dict": state, "old_schema": zeros(state)}),
        ("ema.shadow", lambda state: {"model": zeros(state), "ema": {"shadow": state, "decay": 0.99}}),
        (
            "ema.shadow_params",
            lambda state: {"model": zeros(state), "ema": {"shadow_params": list(state.values()), "decay": 0.99}},
        ),
    ],
)
def test_what_has_the_names_of_weights_and_is_none_is_passed_over(user: User, where: str, wrap: Any) -> None:
    (wanted,) = user.load().generate([7])
    user.save({**wrap(dict(user.net.state_dict())), "config": CONFIG})
    engine = user.load()
    assert engine.info.weights == where
    assert np.array_equal(engine.generate([7])[0].pixels, wanted.pixels)


BUFFERED = """

class Buffered(Net):
    def __init__(self, latent_dim, vocab_size, width=24):
        super().__init__(latent_dim, vocab_size, width)
        self.norm = nn.BatchNorm1d(latent_dim, affine=False)
        self.register_buffer("mask", torch.full((2,), float("-inf")))
        self.again = self.words

    def decode(self, latents):
        return super().decode(self.norm(latents))
"""


def test_averaged_parameters_alone_take_the_buffers_of_the_others(user: User) -> None:
    path = user.folder / f"{user.module}.py"
    path.write_text(path.read_text() + BUFFERED)
    state = dict(user.net.state_dict())
    buffers = {
        "norm.running_mean": torch.ones(12),
        "norm.running_var": torch.ones(12),
        "norm.num_batches_tracked": torch.tensor(3),
        "mask": torch.full((2,), -torch.inf),
    }
    user.save({"model_state_dict": {**state, **buffers}, "config": CONFIG})
    (wanted,) = user.load("Buffered").generate([7])
    user.save({"ema": state, "model": {**zeros(state), **buffers}, "config": CONFIG})
    engine = user.load("Buffered")
    assert engine.info.weights == "ema, buffers of model"
    assert np.array_equal(engine.generate([7])[0].pixels, wanted.pixels)
    for odd in ({"picture.0.weight": torch.zeros(2, 2)}, {**state, "picture.0.weight": torch.zeros(2, 2)}):
        user.save({"ema": odd, "model": {**state, **buffers}, "config": CONFIG})
        engine = user.load("Buffered")
        assert engine.info.weights == "model (the averaged ones under 'ema' do not fit)"
        assert np.array_equal(engine.generate([7])[0].pixels, wanted.pixels)


def test_tensors_of_two_names_may_be_stored_under_one(user: User) -> None:
    path = user.folder / f"{user.module}.py"
    path.write_text(
        path.read_text()
        + BUFFERED.replace("self.norm = nn.BatchNorm1d(latent_dim, affine=False)", "self.norm = nn.Identity()")
    )
    state = {**user.net.state_dict(), "mask": torch.zeros(2)}
    user.weights = user.folder / "best.safetensors"
    save_file(state, user.weights, metadata={"config": '{"latent_dim": 12}'})
    assert len(user.load("Buffered").generate([7])) == 1


def test_two_trainings_in_one_file_are_refused_with_their_places(user: User) -> None:
    state = dict(user.net.state_dict())
    user.save({"first": state, "second": zeros(state), "config": CONFIG})
    with pytest.raises(CheckpointError, match="fit and differ, as 'first' and 'second'"):
        user.load()
    user.save({"first": state, "second": dict(state), "config": CONFIG})
    assert user.load().info.weights == "first"


def test_a_dimension_that_was_guessed_is_named_with_its_origin(user: User) -> None:
    user.save(user.net.state_dict())
    with pytest.raises(CheckpointError, match="built with latent_dim=1024 by default and vocab_size=1266 of the"):
        user.load()


def test_a_file_that_holds_itself_many_times_is_read_in_no_time(user: User) -> None:
    knot: dict[str, Any] = {}
    knot.update({str(number): knot for number in range(40)})
    user.save(knot)
    with pytest.raises(CheckpointError, match="no state dict was found"):
        user.load(latent_dim=12)
