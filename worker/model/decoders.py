"""The canonical shapes, in which alone anything is computed, and the decoders that keep to them.

Floating-point results change with the shape of a batch and with the number of threads. So a result is *defined* by
one canonical shape for each class of device: on the CPU one picture at a time on one thread, many of them side by
side, and captions in rows of eight; on CUDA padded blocks of eight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from queue import SimpleQueue
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor, nn

from worker.errors import DecodeError, OutOfDeviceMemory
from worker.model.custom import CustomNetwork
from worker.model.exact import exact_arithmetic, prepare_cuda
from worker.model.generated import unheard
from worker.model.recording import Compute, Recording
from worker.model.shortage import BatchLimit, shortage_in
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

log = structlog.get_logger(__name__)

Part = tuple[int, Compute]
"""What is computed for a batch: so many rows at a time, and how."""

Decoded = tuple[Tensor, list[list[int]]]
"""Pixels uint8 [B, 3, H, W] on the CPU, and the token ids of each row."""


class Decoder(Protocol):
    """Decodes latents in the canonical shape."""

    shortages: int
    """How often the device's memory did not suffice."""

    def decode(self, latents: Tensor, free: Callable[[], None] = unheard) -> Decoded:
        """Return pixels and token ids for latents float32 [B, latent_dim]; calls ``free`` when more can be begun."""
        ...

    def decode_tokens(self, latents: Tensor) -> list[list[int]]:
        """Return the token ids alone."""
        ...


def shape_for(device: str, network: Any) -> CanonicalShape:
    """Return the canonical shape of a network on a class of device."""
    shape = CANONICAL_SHAPES[device]
    return replace(shape, text_rows=shape.picture_rows) if _is_joint(network) else shape


class CpuDecoder:
    """Pictures one at a time, each on one thread, on as many threads as there are cores; captions in padded rows."""

    shortages = 0

    def __init__(self, network: Any, shape: CanonicalShape, threads: int) -> None:
        channels_last(network)
        self._parts = _parts(network, shape)
        self._networks: SimpleQueue[Any] = SimpleQueue()
        for number in range(threads):
            # A network of the user's may keep things on itself while it computes: no two threads share one.
            self._networks.put(network.replica() if number and isinstance(network, CustomNetwork) else network)
        self._threads = threads
        self._pool = _single_threaded_pool(threads)

    def decode(self, latents: Tensor, free: Callable[[], None] = unheard) -> Decoded:
        """See :class:`Decoder`; ``free`` is called when a thread finds no more to do, unless a part has failed."""
        return _joined(self._run(self._parts, latents, free))

    def decode_tokens(self, latents: Tensor) -> list[list[int]]:
        """See :class:`Decoder`."""
        return _rows_of(self._run(self._parts[:1], latents, unheard)[0])

    def _run(self, parts: Sequence[Part], latents: Tensor, free: Callable[[], None]) -> list[list[tuple[Tensor, ...]]]:
        blocks = [[(compute, block, rows) for block in torch.split(latents, rows)] for rows, compute in parts]
        spare = sum(map(len, blocks)) - self._threads  # blocks that may end before a thread is left without one
        ended, failed = count(1), False

        def run(compute: Compute, block: Tensor, rows: int) -> tuple[Tensor, ...]:
            nonlocal failed
            try:
                result = self._compute(compute, block, rows)
            except BaseException:
                failed = True
                raise
            if next(ended) > spare and not failed:
                free()
            return result

        with exact_arithmetic():
            running = [[self._pool.submit(run, *one) for one in part] for part in blocks]
            if spare < 0:
                free()
            return [[future.result() for future in futures] for futures in running]

    def _compute(self, compute: Compute, latents: Tensor, rows: int) -> tuple[Tensor, ...]:
        network = self._networks.get()
        try:
            return _padded(compute, network, latents, rows)
        finally:
            self._networks.put(network)


class CudaDecoder:
    """Padded blocks, each on a stream of its own, as many at a time as memory allows; deterministic, TF32 off.

    The built-in network is recorded on each stream and replayed (worker/model/recording.py).
    All is computed on one thread of its own: callers take turns, and their autocast and default device do not reach it.
    """

    def __init__(self, network: Any, shape: CanonicalShape, device: torch.device) -> None:
        prepare_cuda()
        self._device = device
        channels_last(network)
        if shortage := shortage_in(lambda: network.to(device)):
            raise self._too_large("the model", shortage)
        self._network = network
        self._parts = _parts(network, shape)
        self.limit = BatchLimit(shape.picture_rows, MOST_CUDA_ROWS)
        self.shortages = 0
        self._streams: list[torch.cuda.Stream] = []
        self._can_be_recorded = device.type == "cuda" and not isinstance(network, CustomNetwork)
        self._recordings: list[list[Part]] = []
        """The parts as each stream has recorded them."""
        self._thread = started_pool(1, "device", setting="SEEDMILL_DEVICE")

    def decode(self, latents: Tensor, free: Callable[[], None] = unheard) -> Decoded:
        """See :class:`Decoder`; ``free`` is called when the GPU has none left, unless its memory was short meanwhile.

        Raises:
            OutOfDeviceMemory: if not even one block fits.
        """
        shortages = self.shortages
        done = self._thread.submit(self._run, len(self._parts), latents).result()
        if self.shortages == shortages:  # else what it gives may have to be looked at first
            free()
        return _joined(done)

    def decode_tokens(self, latents: Tensor) -> list[list[int]]:
        """See :class:`Decoder`."""
        return _rows_of(self._thread.submit(self._run, 1, latents).result()[0])

    def _run(self, parts: int, latents: Tensor) -> list[list[tuple[Tensor, ...]]]:
        """Compute the first so many parts of all latents."""
        done: list[list[list[tuple[Tensor, ...]]]] = []
        start, last_chance = 0, False
        while start < len(latents):
            some = latents[start : start + self.limit.rows]
            shortage = shortage_in(lambda some=some: done.append(self._compute(parts, some)))  # type: ignore[misc]
            if not shortage:
                start, last_chance = start + len(some), False
                self.limit.succeeded(len(some))
                continue
            self.shortages += 1
            if last_chance:
                raise self._too_large(f"a block of {self.limit.block}", shortage)
            self._recordings.clear()  # they hold memory
            torch.cuda.empty_cache()
            last_chance = not self.limit.shrink(len(some))
            log.warning(
                "the device's memory does not suffice, taking fewer at a time",
                action="batch_halved",
                before=len(some),
                rows=self.limit.rows,
            )
        return [[piece for pieces in part for piece in pieces] for part in zip(*done, strict=True)]

    def _compute(self, parts: int, latents: Tensor) -> list[list[tuple[Tensor, ...]]]:
        """Compute some blocks side by side; return the pieces of each part on the CPU."""
        latents = latents.to(self._device)
        done: list[list[tuple[Tensor, ...]]] = [[] for _ in range(parts)]
        with exact_arithmetic():
            for index, block in enumerate(torch.split(latents, self.limit.block)):
                with self._stream(index):
                    for pieces, (rows, compute) in zip(done, self._parts_on(index), strict=False):
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

    def _parts_on(self, index: int) -> Sequence[Part]:
        """Return all parts as they are computed on a stream."""
        if not self._can_be_recorded:
            return self._parts
        while len(self._recordings) <= index:
            pool = torch.cuda.graph_pool_handle()
            self._recordings.append([(rows, Recording(compute, pool)) for rows, compute in self._parts])
        return self._recordings[index]

    def _too_large(self, what: str, shortage: str) -> OutOfDeviceMemory:
        return OutOfDeviceMemory(
            f"{what} does not fit into the memory of {self._device}: end what else uses it, or compute on the CPU with "
            f"SEEDMILL_DEVICE=cpu, or let workers do so at start with SEEDMILL_CPU_FALLBACK=true ({shortage})"
        )


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


def _parts(network: Any, shape: CanonicalShape) -> list[Part]:
    """Return what is computed for a batch, rows at a time and how.

    All results in order are tokens, pixels, and whether these are finite.
    """
    if _is_joint(network):
        return [(shape.picture_rows, _tokens_and_pixels)]
    return [(shape.text_rows, _tokens), (shape.picture_rows, _pixels)]


@torch.inference_mode()
def _padded(compute: Compute, network: Any, latents: Tensor, rows: int) -> tuple[Tensor, ...]:
    """Compute some latents in a batch of exactly ``rows``, and drop what was added, which is the first one again.

    The batch is always memory of its own: results depend on how the first value is aligned, too. So are the results: a
    network of the user's may give the same memory each time.
    """
    batch = latents[:1].repeat(rows, 1)
    batch[: len(latents)] = latents
    return tuple(result[: len(latents)].clone() for result in compute(network, batch))


def _joined(parts: Sequence[Sequence[tuple[Tensor, ...]]]) -> Decoded:
    tokens, pixels, finite = [pieces for part in parts for pieces in zip(*part, strict=True)]
    if not bool(torch.cat(finite).all()):
        raise DecodeError("the network gave a picture with values that are not finite: its weights are broken")
    return torch.cat(pixels), [row for piece in tokens for row in piece.tolist()]


def _rows_of(pieces: Sequence[tuple[Tensor, ...]]) -> list[list[int]]:
    return [row for tokens, *_ in pieces for row in tokens.tolist()]


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
