"""The user's own network: a class in a file of theirs, found by its name, built, and loaded with their weights.

The class is trusted code that the user names, as ``SEEDMILL_ARCHITECTURE=model_architecture_large:MultimodalModel``;
the checkpoint is data and is never run. How the network is called, and what it may return, is in custom.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from worker.errors import ArchitectureError, CheckpointError
from worker.model.weights import FoundState, WeightsFile, find_state

CONFIG_KEYS = ("config", "model_config", "hparams", "hyper_parameters", "args")
"""Keys of a checkpoint under which training code keeps what a network is built from."""

DEFAULT_LATENT_DIM = 1024
MAX_DIMENSION = 1_000_000

Value = TypeVar("Value")


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
    """A user's network with its weights; ``digest`` is the SHA-256 of the code that defines it."""

    network: nn.Module
    digest: str
    found: FoundState
    latent_dim: int


def build_network(dotted: str, file: WeightsFile, *, latent_dim: int | None, vocab_size: int) -> BuiltNetwork:
    """Build the class at ``dotted`` (``module:Class``) and load the weights of the file into it.

    Args:
        dotted: looked for in the folder of the checkpoint, then in the working directory.
        file: the checkpoint.
        latent_dim: if given, what the checkpoint must have; else that of its config, of the constructor, or 1024.
        vocab_size: number of the tokenizer's tokens.

    Raises:
        ArchitectureError: naming what is missing and what to do.
        CheckpointError: if the weights are not those of the class.
    """
    folders = list(dict.fromkeys([file.path.absolute().parent, Path.cwd()]))
    kind, digest = _import_class(dotted, folders)
    config = _config_of(file.content)
    latent_dim = _latent_dim(dotted, kind, config, latent_dim)
    if (found_size := config.get("vocab_size", vocab_size)) != vocab_size:
        raise ArchitectureError(
            f"the checkpoint of {dotted} has vocab_size={found_size!r}, but the tokenizer has {vocab_size} tokens: "
            "use the tokenizer that the model was trained with"
        )
    network = _build(dotted, kind, config, {"latent_dim": latent_dim, "vocab_size": vocab_size})
    try:
        found = find_state(file, network.state_dict(), dotted)
        network.load_state_dict(found.state)
    except CheckpointError:
        raise
    except Exception as error:
        raise ArchitectureError(f"{dotted} cannot take its weights: {type(error).__name__}: {error}") from error
    return BuiltNetwork(network.eval().requires_grad_(False), digest, found, latent_dim)


def calling(dotted: str, what: str, call: Callable[[], Value]) -> Value:
    """Return what the user's code returns; its errors become ours.

    Raises:
        ArchitectureError: saying ``what`` failed, and why.
    """
    try:
        return call()
    except (ArchitectureError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise ArchitectureError(f"{dotted} {what}: {type(error).__name__}: {error}") from error


def _import_class(dotted: str, folders: list[Path]) -> tuple[type[nn.Module], str]:
    """Return the class and the digest of the code that defines it."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", dotted):
        raise ArchitectureError(f"{dotted!r} is no class: write module:Class, as in model_architecture_large:MyModel")
    module_name, class_name = dotted.split(":")
    sys.path += [str(folder) for folder in folders if str(folder) not in sys.path]
    source = next((path for folder in folders if (path := folder / f"{module_name}.py").is_file()), None)
    module = _import_installed(dotted, module_name, folders) if source is None else _import_file(dotted, source)
    kind = getattr(module, class_name, None)
    if kind is None:
        own = [name for name, item in vars(module).items() if isinstance(item, type) and issubclass(item, nn.Module)]
        where = getattr(module, "__file__", module_name)
        raise ArchitectureError(f"{where} has no {class_name!r}; its modules are {', '.join(own) or 'none'}")
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ArchitectureError(f"{dotted} is no class of torch.nn.Module: derive it from that")
    if not callable(getattr(kind, "decode", None)):
        raise ArchitectureError(
            f"{dotted} has no method decode(latents) -> (pictures, tokens): add one; "
            "worker/model/architecture.py says what it takes and returns"
        )
    return kind, _digest(module)


def _import_file(dotted: str, source: Path) -> ModuleType:
    """Run a file as a module of its own, under a name that changes with its content."""
    code = source.read_bytes()
    name = f"_seedmill_{source.stem}_{hashlib.sha256(str(source).encode() + code).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, source)
    if spec is None:
        raise ArchitectureError(f"{source} cannot be imported: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        calling(dotted, "cannot be imported", lambda: exec(compile(code, source, "exec"), vars(module)))  # noqa: S102
    except ArchitectureError as error:
        del sys.modules[name]
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError):
            raise ArchitectureError(f"{source} needs {missing.name!r}, which is not installed: install it") from missing
        raise
    return module


def _import_installed(dotted: str, module_name: str, folders: list[Path]) -> ModuleType:
    if module_name in sys.stdlib_module_names or importlib.util.find_spec(module_name.split(".")[0]) is None:
        places = " and ".join(map(str, folders))
        raise ArchitectureError(f"{module_name}.py was not found in {places}: put it beside the checkpoint")
    return calling(dotted, "cannot be imported", lambda: importlib.import_module(module_name))


def _digest(module: ModuleType) -> str:
    """Return the SHA-256 of a module's file and of the files in its folder that it takes something from."""
    files = sorted(_files_of(module, set()))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files_of(module: ModuleType, seen: set[Path]) -> set[Path]:
    file = getattr(module, "__file__", None)
    if file is None or Path(file) in seen:
        return seen
    seen.add(Path(file))
    for item in list(vars(module).values()):
        owner = item if isinstance(item, ModuleType) else sys.modules.get(str(getattr(item, "__module__", None)))
        place = getattr(owner, "__file__", None)
        if isinstance(owner, ModuleType) and place and Path(place).is_relative_to(Path(file).parent):
            _files_of(owner, seen)
    return seen


def _config_of(content: Any) -> Mapping[str, Any]:
    configs = (content.get(key) for key in CONFIG_KEYS) if isinstance(content, Mapping) else ()
    config = next((config for config in configs if isinstance(config, Mapping)), {})
    return {str(name): value for name, value in config.items()}


def _latent_dim(dotted: str, kind: type[nn.Module], config: Mapping[str, Any], asked: int | None) -> int:
    own = inspect.signature(kind).parameters.get("latent_dim")
    default = own.default if own is not None and isinstance(own.default, int) else asked or DEFAULT_LATENT_DIM
    found = config.get("latent_dim", default)
    if not isinstance(found, int) or not 1 <= found <= MAX_DIMENSION:
        raise ArchitectureError(f"the checkpoint of {dotted} has latent_dim={found!r}: it must be 1 to {MAX_DIMENSION}")
    if asked is not None and asked != found:
        raise ArchitectureError(f"the checkpoint of {dotted} has latent_dim={found}, but {asked} was asked for")
    return found


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
    with _fixed_randomness():
        return calling(dotted, "cannot be built", lambda: kind(**arguments))


@contextlib.contextmanager
def _fixed_randomness() -> Iterator[None]:
    """Draw the same random numbers each time: what a constructor draws and the checkpoint does not hold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
