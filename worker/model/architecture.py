"""The user's own network: a class in a file of theirs, found by its name, built, and loaded with their weights.

The class is trusted code that the user names, as ``SEEDMILL_ARCHITECTURE=model_architecture_large:MultimodalModel``;
the checkpoint is data and is never run. How the network is called, and what it may return, is in custom.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from worker.errors import ArchitectureError, CheckpointError
from worker.model.states import FoundState, find_state
from worker.model.usercode import UserCode, calling
from worker.model.weights import WeightsFile

CONFIG_KEYS = ("config", "model_config", "hparams", "hyper_parameters", "args")
"""Keys of a checkpoint under which training code keeps what a network is built from."""

DEFAULT_LATENT_DIM = 1024
MAX_DIMENSION = 1_000_000


class Architecture(Protocol):
    """What the class must offer, beside being a ``torch.nn.Module``.

    It is built with what its constructor asks for by name: ``config`` (the dictionary in the checkpoint), any key of
    that dictionary, ``latent_dim`` and ``vocab_size``. Arguments that have a default may be left out.

    If it also has ``decode_pictures`` and ``decode_tokens``, each taking latents and returning one half of what
    ``decode`` returns, captions are computed several at a time, which is faster.
    """

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures and token ids for latents.

        Args:
            latents: float32 [B, latent_dim], standard normal; bfloat16 where that is the precision.

        Returns:
            Pictures [B, 3, H, H], floating point in [0, 1] or uint8, and token ids int64 [B, T], where T may differ
            from call to call. Both must depend on their own row alone, and on nothing that an earlier call left.
        """
        ...


@dataclass(frozen=True, slots=True)
class BuiltNetwork:
    """A user's network with its weights."""

    network: nn.Module
    found: FoundState
    latent_dim: int


def user_code(dotted: str, checkpoint: Path) -> UserCode:
    """Return the code that ``module:Class`` names: in the folder of the checkpoint, or in the working directory.

    Raises:
        ArchitectureError: if that is no such name.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", dotted):
        raise ArchitectureError(f"{dotted!r} is no class: write module:Class, as in model_architecture_large:MyModel")
    if dotted.split(":")[0].endswith(".py"):
        raise ArchitectureError(f"{dotted!r} names a file: leave out .py, as in model_architecture_large:MyModel")
    folders = list(dict.fromkeys([checkpoint.absolute().parent, Path.cwd()]))
    return UserCode(dotted, dotted.split(":")[0], folders)


def build_network(code: UserCode, file: WeightsFile, *, latent_dim: int | None, vocab_size: int) -> BuiltNetwork:
    """Build the user's class and load the weights of the file into it; inside the context of the code.

    Args:
        code: where the class is.
        file: the checkpoint.
        latent_dim: if given, what the checkpoint must have; else that of its config, of the constructor, or 1024.
        vocab_size: number of the tokenizer's tokens.

    Raises:
        ArchitectureError: naming what is missing and what to do.
        CheckpointError: if the weights are not those of the class.
    """
    dotted = code.dotted
    kind = _class_in(code)
    config = _config_of(file.content)
    latent_dim, origin = _latent_dim(dotted, kind, config, latent_dim)
    if (found_size := config.get("vocab_size", vocab_size)) != vocab_size:
        raise ArchitectureError(
            f"the checkpoint of {dotted} has vocab_size={found_size!r}, but the tokenizer has {vocab_size} tokens: "
            "use the tokenizer that the model was trained with"
        )
    network = _build(dotted, kind, config, {"latent_dim": latent_dim, "vocab_size": vocab_size})
    maker = f"{dotted} (built with latent_dim={latent_dim} {origin} and vocab_size={vocab_size} of the tokenizer)"
    try:
        found = find_state(file, network, maker)
        network.load_state_dict(found.state)
    except CheckpointError:
        raise
    except Exception as error:
        raise ArchitectureError(f"{dotted} cannot take its weights: {type(error).__name__}: {error}") from error
    return BuiltNetwork(network.eval().requires_grad_(False), found, latent_dim)


def _class_in(code: UserCode) -> type[nn.Module]:
    module, class_name = code.load(), code.dotted.split(":")[1]
    kind = getattr(module, class_name, None)
    if kind is None:
        own = [name for name, item in vars(module).items() if isinstance(item, type) and issubclass(item, nn.Module)]
        where = getattr(module, "__file__", code.name)
        raise ArchitectureError(f"{where} has no {class_name!r}; its modules are {', '.join(own) or 'none'}")
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ArchitectureError(f"{code.dotted} is no class of torch.nn.Module: derive it from that")
    if not callable(getattr(kind, "decode", None)):
        raise ArchitectureError(
            f"{code.dotted} has no method decode(latents) -> (pictures, tokens): add one; "
            "worker/model/architecture.py says what it takes and returns"
        )
    return kind


def _config_of(content: Any) -> Mapping[str, Any]:
    configs = (content.get(key) for key in CONFIG_KEYS) if isinstance(content, Mapping) else ()
    config = next((config for config in configs if isinstance(config, Mapping)), {})
    return {str(name): value for name, value in config.items()}


def _latent_dim(dotted: str, kind: type[nn.Module], config: Mapping[str, Any], asked: int | None) -> tuple[int, str]:
    """Return the size of a latent, and where it was found."""
    own = inspect.signature(kind).parameters.get("latent_dim")
    found, origin = asked or DEFAULT_LATENT_DIM, "by default"
    if "latent_dim" in config:
        found, origin = config["latent_dim"], "of its config"
    elif own is not None and isinstance(own.default, int):
        found, origin = own.default, "of its constructor"
    if not isinstance(found, int) or not 1 <= found <= MAX_DIMENSION:
        raise ArchitectureError(f"the checkpoint of {dotted} has latent_dim={found!r}: it must be 1 to {MAX_DIMENSION}")
    if asked is not None and asked != found:
        raise ArchitectureError(f"the checkpoint of {dotted} has latent_dim={found}, but {asked} was asked for")
    return found, origin


def _build(dotted: str, kind: type[nn.Module], config: Mapping[str, Any], dims: Mapping[str, int]) -> nn.Module:
    offered = {**config, **dims, **({"config": dict(config)} if config else {})}
    parameters = inspect.signature(kind).parameters.values()
    wanted = [item for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    missing = [item.name for item in wanted if item.default is item.empty and item.name not in offered]
    if missing:
        raise ArchitectureError(
            f"{dotted} is built with {', '.join(missing)}, which the checkpoint's config does not have "
            f"(it has {', '.join(sorted(config)) or 'none'}): save a config with it, or give it a default"
        )
    arguments = {item.name: offered[item.name] for item in wanted if item.name in offered}
    if any(item.kind is item.VAR_KEYWORD for item in parameters):
        arguments = {**config, **dims, **arguments}
    return calling(dotted, "cannot be built", lambda: kind(**arguments))
