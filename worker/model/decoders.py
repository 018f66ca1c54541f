"""The canonical shapes, in which alone anything is computed, and the decoders that keep to them.

Floating-point results change with the shape of a batch and with the number of threads. So a result is *defined* by
one canonical shape for each class of device: on the CPU one picture at a time on one thread, many of them side by
side, and captions in rows of eight; on CUDA padded blocks of eight.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor, nn

from worker.errors import DecodeError, OutOfDeviceMemory
from worker.model.custom import CustomNetwork
from worker.threads import started_pool


@dataclass(frozen=True, slots=True)
class CanonicalShape:
    """The shape in which every result of a device class is computed; part of the model id."""

    device: str
    picture_rows: int
    text_rows: int
    threads: int | None


CANONICAL_SHAPES = {
    "cpu": CanonicalShape("cpu", picture_rows=1, text_rows=8, threads=1),
    "cuda": CanonicalShape("cuda", picture_rows=8, text_rows=8, threads=None),
}

MOST_CUDA_ROWS = 64
"""Rows that a GPU is given at a time while its memory suffices."""

GROW_AFTER = 50
"""Batches in a row that must fit before a GPU is given more again."""

SHORTAGES = ("out of memory", "ALLOC_FAILED")
"""How libraries beside PyTorch's own allocator say that a GPU's memory does not suffice."""

log = structlog.get_logger(__name__)

Compute = Callable[[Any, Tensor], tuple[Tensor, ...]]
"""A network and some latents to what is computed of them."""

Decoded = tuple[Tensor, list[list[int]]]
"""Pixels uint8 [B, 3, H, W] on the CPU, and the token ids of each row."""


class Decoder(Protocol):
    """Decodes latents in the canonical shape."""

    def decode(self, latents: Tensor) -> Decoded:
        """Return pixels and token ids for latents float32 [B, latent_dim]."""
        ...


def shape_for(device: str, network: Any) -> CanonicalShape:
    """Return the canonical shape of a network on a class of device."""
    shape = CANONICAL_SHAPES[device]
    return replace(shape, text_rows=shape.picture_rows) if _is_joint(network) else shape


class CpuDecoder:
    """Pictures one at a time, each on one thread, on as many threads as there are cores; captions in padded rows."""

    def __init__(self, network: Any, shape: CanonicalShape, threads: int) -> None:
        channels_last(network)
        self._parts = _parts(network, shape)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for number in range(threads):
            # A network of the user's may keep things on itself while it computes: no two threads share one.
            self._free.put(network.replica() if number and isinstance(network, CustomNetwork) else network)
        self._pool = _single_threaded_pool(threads)

    def decode(self, latents: Tensor) -> Decoded:
        """See :class:`Decoder`."""
        running = [
            [self._pool.submit(self._compute, compute, part, rows) for part in torch.split(latents, rows)]
            for rows, compute in self._parts
        ]
        return _joined([[future.result() for future in futures] for futures in running])

    def _compute(self, compute: Compute, latents: Tensor, rows: int) -> tuple[Tensor, ...]:
        network = self._free.get()
        try:
            return _padded(compute, network, latents, rows)
        finally:
            self._free.put(network)


class BatchLimit:
    """How many rows a GPU has in flight at a time: halved when its memory does not suffice, grown back slowly.

    Always whole blocks of the canonical shape, so that no result depends on it.
    """

    def __init__(self, block: int, most: int) -> None:
        self.block, self.most = block, max(block, most // block * block)
        self.rows, self._successes = self.most, 0

    def shrink(self, taken: int) -> bool:
        """Halve what was taken; return False if that was no more than one block."""
        self._successes = 0
        self.rows = max(self.block, min(self.rows, taken) // 2 // self.block * self.block)
        return taken > self.block

    def succeeded(self, taken: int) -> None:
        """Note that rows fitted; after GROW_AFTER times in a row that all were taken that may be, a block is added."""
        if taken < self.rows:
            return
        self._successes += 1
        if self._successes >= GROW_AFTER and self.rows < self.most:
            self.rows, self._successes = self.rows + self.block, 0


class CudaDecoder:
    """Padded blocks, each on a stream of its own, as many at a time as memory allows; deterministic, TF32 off."""

    def __init__(self, network: Any, shape: CanonicalShape, device: torch.device) -> None:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        self._device = device
        if shortage := _shortage(lambda: network.to(device)):
            raise self._too_large("the model", shortage)
        channels_last(network)
        self._network = network
        self._parts = _parts(network, shape)
        self.limit = BatchLimit(shape.picture_rows, MOST_CUDA_ROWS)
        self._streams: list[torch.cuda.Stream] = []

    def decode(self, latents: Tensor) -> Decoded:
        """See :class:`Decoder`.

        Raises:
            OutOfDeviceMemory: if not even one block fits.
        """
        done: list[list[list[tuple[Tensor, ...]]]] = []
        start, last_chance = 0, False
        while start < len(latents):
            part = latents[start : start + self.limit.rows]
            shortage = _shortage(lambda part=part: done.append(self._compute(part)))  # type: ignore[misc]
            if not shortage:
                start, last_chance = start + len(part), False
                self.limit.succeeded(len(part))
                continue
            if last_chance:
                raise self._too_large(f"a block of {self.limit.block}", shortage)
            torch.cuda.empty_cache()
            last_chance = not self.limit.shrink(len(part))
            log.warning(
                "the device's memory does not suffice, taking fewer at a time",
                action="batch_halved",
                before=len(part),
                rows=self.limit.rows,
            )
        return _joined([[piece for pieces in part for piece in pieces] for part in zip(*done, strict=True)])

    def _compute(self, latents: Tensor) -> list[list[tuple[Tensor, ...]]]:
        """Compute some blocks side by side; return the pieces of each part on the CPU."""
        latents = latents.to(self._device)
        done: list[list[tuple[Tensor, ...]]] = [[] for _ in self._parts]
        for index, block in enumerate(torch.split(latents, self.limit.block)):
            with self._stream(index):
                for pieces, (rows, compute) in zip(done, self._parts, strict=True):
                    pieces.append(_padded(compute, self._network, block, rows))
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return [[tuple(result.cpu() for result in piece) for piece in pieces] for pieces in done]

    def _stream(self, index: int) -> AbstractContextManager[Any]:
        if self._device.type != "cuda":
            return nullcontext()
        while len(self._streams) <= index:
            self._streams.append(torch.cuda.Stream(self._device))  # type: ignore[no-untyped-call]
        self._streams[index].wait_stream(torch.cuda.current_stream(self._device))
        return torch.cuda.stream(self._streams[index])

    def _too_large(self, what: str, shortage: str) -> OutOfDeviceMemory:
        return OutOfDeviceMemory(
            f"{what} does not fit into the memory of {self._device}: end what else uses it, or compute on the CPU with "
            f"SEEDMILL_DEVICE=cpu, or let workers do so at start with SEEDMILL_CPU_FALLBACK=true ({shortage})"
        )


def _shortage(call: Callable[[], object]) -> str:
    """Call; return what the device says if its memory does not suffice, and "" if it does.

    The text and not the error, whose traceback would keep the tensors alive.
    """
    try:
        call()
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in SHORTAGES):
            return str(error)
        raise
    return ""


def channels_last(network: Any) -> None:
    """Lay out the weights of convolutions as they are computed fastest."""
    for module in network.modules() if isinstance(network, nn.Module) else ():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _is_joint(network: Any) -> bool:
    """Return whether pictures and tokens of this network can be computed only together."""
    return isinstance(network, CustomNetwork) and network.joint


def _tokens_and_pixels(network: Any, latents: Tensor) -> tuple[Tensor, ...]:
    pictures, tokens = network.decode(latents)
    return tokens, to_bytes(pictures), _are_finite(pictures)


def _tokens(network: Any, latents: Tensor) -> tuple[Tensor, ...]:
    return (network.decode_tokens(latents),)


def _pixels(network: Any, latents: Tensor) -> tuple[Tensor, ...]:
    pictures = network.decode_pictures(latents)
    return to_bytes(pictures), _are_finite(pictures)


def _are_finite(pictures: Tensor) -> Tensor:
    """Return for each picture whether all its values are numbers; looked at later, so that a GPU need not wait."""
    return pictures.isfinite().flatten(1).all(dim=1)


def _parts(network: Any, shape: CanonicalShape) -> list[tuple[int, Compute]]:
    """Return what is computed for a batch, rows at a time and how.

    All results in order are tokens, pixels, and whether these are finite.
    """
    if _is_joint(network):
        return [(shape.picture_rows, _tokens_and_pixels)]
    return [(shape.text_rows, _tokens), (shape.picture_rows, _pixels)]


@torch.inference_mode()
def _padded(compute: Compute, network: Any, latents: Tensor, rows: int) -> tuple[Tensor, ...]:
    """Compute some latents in a batch of exactly ``rows``, and drop what was added.

    The batch is always memory of its own: results depend on how the first value is aligned, too.
    """
    batch = latents.new_zeros(rows, latents.shape[1])
    batch[: len(latents)] = latents
    return tuple(result[: len(latents)] for result in compute(network, batch))


def _joined(parts: Sequence[Sequence[tuple[Tensor, ...]]]) -> Decoded:
    tokens, pixels, finite = [pieces for part in parts for pieces in zip(*part, strict=True)]
    if not bool(torch.cat(finite).all()):
        raise DecodeError("the network gave a picture with values that are not finite: its weights are broken")
    return torch.cat(pixels), [row for piece in tokens for row in piece.tolist()]


def _single_threaded_pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool whose threads compute on one core each, leaving the thread settings of the caller alone."""
    before = torch.get_num_threads()

    def prepare() -> None:
        torch.get_num_threads()  # makes PyTorch initialise the thread first, or it would undo the next line later
        torch.set_num_threads(1)

    try:
        return started_pool(threads, "decode", setting="SEEDMILL_CPU_THREADS", prepare=prepare)
    finally:
        torch.set_num_threads(before)


def to_bytes(pictures: Tensor) -> Tensor:
    """Return pictures as uint8; floating point in [0, 1] is rounded to the nearest step of 255."""
    if pictures.dtype == torch.uint8:
        return pictures
    return (pictures.float().clamp(0, 1) * 255).round_().to(torch.uint8)
