"""Which weights in a file are those of a network: under any key, behind any prefix, averaged ones before others.

What a file holds and a network come in; a state dict that fits, and where it was, goes out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worker.errors import CheckpointError
from worker.model.weights import WeightsFile

TOP = "the top of the file"

AVERAGED = frozenset({"ema", "averaged", "swa", "shadow"})
"""Words in the name of weights that were averaged over training, which are made for inference and so preferred."""

NOT_WEIGHTS = frozenset({"optim", "optimizer", "optimizers", "exp", "momentum", "scheduler", "schedulers"}) | frozenset(
    {"grad", "grads", "init", "initial"}
)
"""Words in the name of what has the names of weights and is none, or not those that were trained."""

USUAL_KEYS = (TOP, "model_state_dict", "state_dict", "model", "module", "net", "network", "generator", "weights")
"""Where weights usually are, most usual first."""

MAX_DEPTH = 4
"""How deep in a file state dicts are looked for."""

DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""What weights may be stored as; counters and masks beside them may be integers and booleans."""

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class FoundState:
    """A state dict, and where in the file it was: ``"model_state_dict, prefix 'module.' removed"``."""

    state: State
    where: str

    @property
    def averaged(self) -> bool:
        """Whether its place says that it was averaged over training."""
        return bool(_words(self.where) & AVERAGED)

    @property
    def rank(self) -> tuple[bool, int]:
        """Lower is better."""
        key = self.where.partition(",")[0]
        usual = next((place for place, name in enumerate(USUAL_KEYS) if name == key), len(USUAL_KEYS))
        return not self.averaged, usual


class Wanted:
    """Names and shapes that a network has; ``buffers`` are not trained, and some tensors have several names."""

    def __init__(self, network: nn.Module) -> None:
        self.state: State = network.state_dict()
        parameters = dict(network.named_parameters(remove_duplicate=False))
        self.parameters = [name for name in self.state if name in parameters]
        self.buffers = frozenset(self.state) - frozenset(self.parameters)
        self.shapes = {name: tensor.shape for name, tensor in self.state.items()}
        groups: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
        for name, tensor in self.state.items():
            place = (tensor.data_ptr(), tensor.shape, tensor.stride())
            groups[place if tensor.numel() else (name,)].append(name)
        self._twins = {name: group for group in groups.values() for name in group}

    def completed(self, part: State) -> State:
        """Return the part with each missing name that is another name of a tensor that is there."""
        twins = {name: twin for name in self.state if name not in part for twin in self._twins[name] if twin in part}
        return {**part, **{name: part[twin] for name, twin in twins.items()}}

    def fits(self, part: State) -> bool:
        """Return whether names and shapes are those of the network, but for buffers, which may be missing."""
        missing = self.state.keys() - part.keys()
        return missing <= self.buffers and all(self.shapes.get(name) == part[name].shape for name in part)


def find_state(file: WeightsFile, network: nn.Module, maker: str) -> FoundState:
    """Find the state dict that a network wants.

    Args:
        file: where to look.
        network: whose weights are wanted, on the CPU.
        maker: what the network is called in messages.

    Raises:
        CheckpointError: naming what is missing, unknown or of another shape in what comes nearest; or the places of
            several that fit and differ.
    """
    wanted = Wanted(network)
    candidates = list(_state_dicts(file.content, wanted))
    if not candidates:
        keys = sorted(map(str, file.content))[:5] if isinstance(file.content, Mapping) else type(file.content).__name__
        raise CheckpointError(
            f"{file.path}: no state dict was found (it holds {keys}): save it as "
            "{'model_state_dict': model.state_dict()}"
        )
    parts = [part for candidate in candidates for part in _parts(candidate, wanted)]
    fitting = _complete([part for part in parts if wanted.fits(part.state)], wanted)
    if not fitting:
        nearest = max([*parts, *candidates], key=lambda found: len(found.state.keys() & wanted.state.keys()))
        compare_states(file.path, wanted.state, nearest.state, maker)
    found = min(fitting, key=lambda found: found.rank)
    compare_states(file.path, wanted.state, found.state, maker)
    check_weights(file.path, found.state, wanted.buffers)
    _check_alone(file.path, found, fitting)
    unused = [part.where for part in parts if part.averaged and part.state.keys() & wanted.state.keys()]
    if unused and not found.averaged:
        return FoundState(found.state, f"{found.where} (the averaged ones under {unused[0]!r} do not fit)")
    return found


def check_weights(path: Path, state: State, buffers: Collection[str] = ()) -> None:
    """Check that the values of a state dict can be computed with; ``buffers`` may be infinite, as masks are.

    Raises:
        CheckpointError: naming the tensor that cannot.
    """
    for name, tensor in state.items():
        broken = tensor.isnan().any() if name in buffers else ~tensor.isfinite().all()
        if bool(broken):
            raise CheckpointError(f"{path}: its weights {name!r} hold values that are not finite: train it again")


def compare_states(path: Path, wanted: State, found: State, maker: str) -> None:
    """Check that a file's weights are those that a network has, by name, kind and shape.

    Raises:
        CheckpointError: naming what is missing, unknown, odd or of another shape; ``maker`` says whose network it is.
    """
    both = [name for name in wanted if name in found]
    odd = next((name for name in both if not _is_plain(found[name], wanted[name])), None)
    if odd:
        raise CheckpointError(
            f"{path}: its weights {odd!r} ({found[odd].dtype}) are no plain tensor in memory of the kind that {maker} "
            "has: save the file again, from model.state_dict()"
        )
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    reshaped = [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in both
        if found[name].shape != wanted[name].shape
    ]
    if not (missing or unknown or reshaped):
        return
    faults = [f"{len(missing)} missing ({missing[0]}, ...)"] if missing else []
    faults += [f"{len(unknown)} unknown ({unknown[0]}, ...)"] if unknown else []
    faults += [f"{len(reshaped)} of another shape ({reshaped[0]}, ...)"] if reshaped else []
    raise CheckpointError(
        f"{path}: its weights are of another architecture than {maker}: {'; '.join(faults)}: bring together the class, "
        "the checkpoint, its config and the tokenizer of one training"
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(re.split(r"[^a-z0-9]+", text.lower()))


def _state_dicts(content: Any, wanted: Wanted) -> Iterator[FoundState]:
    """Yield every mapping of names to tensors in the content, each once, and the keys that lead to it."""
    seen: set[int] = set()
    waiting: list[tuple[Any, str, int]] = [(content, "", 0)]
    while waiting:
        item, where, depth = waiting.pop(0)
        if _words(where) & AVERAGED and _are_tensors(item, len(wanted.parameters)):
            yield FoundState(dict(zip(wanted.parameters, item, strict=True)), where)  # in the order of parameters()
        if not isinstance(item, Mapping) or id(item) in seen or depth > MAX_DEPTH:
            continue
        seen.add(id(item))
        state = {name: value for name, value in item.items() if isinstance(name, str) and isinstance(value, Tensor)}
        if state:
            yield FoundState(state, where or TOP)
        for name, value in item.items():
            if not _words(str(name)) & NOT_WEIGHTS:
                waiting.append((value, f"{where}.{name}" if where else str(name), depth + 1))


def _are_tensors(item: Any, count: int) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == count and all(isinstance(one, Tensor) for one in item)


def _parts(found: FoundState, wanted: Wanted) -> Iterator[FoundState]:
    """Yield a state dict as it is, and its parts behind each prefix beside which there may be other things."""
    yield FoundState(wanted.completed(found.state), found.where)
    firsts = wanted.parameters[:3]
    ends = [(name, first) for name in found.state for first in firsts if name.endswith(f".{first}")]
    for prefix in sorted({name.removesuffix(first) for name, first in ends}):
        part = {name.removeprefix(prefix): tensor for name, tensor in found.state.items() if name.startswith(prefix)}
        yield FoundState(wanted.completed(part), f"{found.where}, prefix {prefix!r} removed")


def _complete(parts: list[FoundState], wanted: Wanted) -> list[FoundState]:
    """Return those with all buffers; averaged parameters alone take the buffers of the best that is not averaged."""
    whole = [part for part in parts if len(part.state) == len(wanted.state)]
    raw = min((part for part in whole if not part.averaged), key=lambda part: part.rank, default=None)
    if raw is None:
        return whole
    averaged = [part for part in parts if part.averaged and len(part.state) < len(wanted.state)]
    return whole + [
        FoundState({**raw.state, **part.state}, f"{part.where}, buffers of {raw.where}") for part in averaged
    ]


def _check_alone(path: Path, best: FoundState, fitting: list[FoundState]) -> None:
    """Refuse a file that has weights of another training in as good a place."""
    rivals = [found for found in fitting if found is not best and found.rank == best.rank]
    other = next(
        (rival for rival in rivals if not all(_equal(best.state[n], rival.state[n]) for n in best.state)), None
    )
    if other:
        raise CheckpointError(
            f"{path}: holds several state dicts that fit and differ, as {best.where!r} and {other.where!r}: save "
            "the one that is meant alone, as {'model_state_dict': ...}"
        )


def _equal(first: Tensor, second: Tensor) -> bool:
    return first is second or (first.dtype == second.dtype and _is_plain(second, first) and torch.equal(first, second))


def _is_plain(found: Tensor, wanted: Tensor) -> bool:
    """Return whether a tensor is in memory, all of it, and of the kind that is wanted: floating point or not."""
    return (
        found.layout is torch.strided
        and found.device.type == "cpu"
        and not found.is_quantized
        and (found.dtype in DTYPES if wanted.is_floating_point() else found.dtype == wanted.dtype)
        and found.untyped_storage().nbytes() >= found.numel() * found.element_size()
    )
