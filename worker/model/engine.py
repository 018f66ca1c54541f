"""The model at work: a batch of seeds in, pictures and captions out, the same bits whatever the batch.

Floating-point results change with the shape of a batch and with the number of threads. So a result is *defined* by
one canonical shape for each class of device (CanonicalShape), and every batch is computed in that shape: on the CPU
one picture at a time on one thread, many of them side by side, and captions in rows of eight; on CUDA one padded
batch. Knows nothing of queues, files of pictures, or storage.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.errors import CheckpointError, DeviceError, SetupError
from worker.model.checkpoint import Checkpoint, load_checkpoint
from worker.model.config import ARCHITECTURE
from worker.model.latents import draw_latents
from worker.model.network import SeedNetwork
from worker.model.tokenizer import CaptionTokenizer
from worker.threads import started_pool

PRECISION = "fp32"
SELF_CHECK_SEEDS = (0, 1, 42)


@dataclass(frozen=True, slots=True)
class CanonicalShape:
    """The shape in which every result of a device class is computed; part of the model id."""

    device: str
    picture_rows: int
    text_rows: int
    threads: int | None


CANONICAL_SHAPES = {
    "cpu": CanonicalShape("cpu", picture_rows=1, text_rows=8, threads=1),
    "cuda": CanonicalShape("cuda", picture_rows=32, text_rows=32, threads=None),
}


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What identifies a model: results of equal ``id`` are equal bit for bit."""

    id: str
    name: str
    architecture: str
    precision: str
    trained: bool
    checkpoint_sha256: str
    tokenizer_sha256: str
    latent_dim: int
    vocab_size: int
    image_size: int
    device: str
    parameters: int


@dataclass(frozen=True, slots=True)
class Generated:
    """One result: ``pixels`` uint8 [height, width, 3] in RGB order, and the caption."""

    seed: int
    pixels: NDArray[np.uint8]
    caption: str


class Decoder(Protocol):
    """Latents float32 [B, latent_dim] to pixels uint8 [B, 3, H, W] and token ids int64 [B, T], all on the CPU."""

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels and token ids."""
        ...


class CpuDecoder:
    """Pictures one at a time, each on one thread, on as many threads as there are cores; captions in padded rows."""

    def __init__(self, network: SeedNetwork, shape: CanonicalShape, threads: int) -> None:
        _channels_last(network)
        self._network = network
        self._shape = shape
        self._pool = _single_threaded_pool(threads)

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Decoder`."""
        tokens = self._pool.map(self._tokens, torch.split(latents, self._shape.text_rows))
        pixels = self._pool.map(self._pixels, torch.split(latents, self._shape.picture_rows))
        return torch.cat(list(pixels)), torch.cat(list(tokens))

    @torch.inference_mode()
    def _pixels(self, latents: Tensor) -> Tensor:
        return _to_bytes(self._network.decode_pictures(latents))

    @torch.inference_mode()
    def _tokens(self, latents: Tensor) -> Tensor:
        return self._network.decode_tokens(_pad(latents, self._shape.text_rows))[: len(latents)]


class CudaDecoder:
    """One padded batch at a time, with TF32 off and deterministic convolutions."""

    def __init__(self, network: SeedNetwork, shape: CanonicalShape, device: torch.device) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        self._network = network.to(device)
        _channels_last(network)
        self._shape = shape
        self._device = device

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Decoder`."""
        pixels = self._run(lambda x: _to_bytes(self._network.decode_pictures(x)), latents, self._shape.picture_rows)
        return pixels, self._run(self._network.decode_tokens, latents, self._shape.text_rows)

    @torch.inference_mode()
    def _run(self, part_of: Callable[[Tensor], Tensor], latents: Tensor, rows: int) -> Tensor:
        parts = torch.split(latents, rows)
        return torch.cat([part_of(_pad(part, rows).to(self._device))[: len(part)] for part in parts]).cpu()


class Engine:
    """A loaded model on its device.

    Args:
        checkpoint_path: a ``best.pt`` written by this program.
        tokenizer_path: the ``tokenizer.json`` that belongs to it.
        device: ``cuda``, ``cuda:N``, ``cpu``, or ``None`` for the first of these that is there.
        latent_dim, vocab_size: if given, what the checkpoint must have.
        threads: pictures that a CPU decodes side by side; ``None`` for one a core. Does not change any result.

    Raises:
        CheckpointError, TokenizerError, DeviceError: with what to do about it.
    """

    def __init__(
        self,
        checkpoint_path: str | Path,
        tokenizer_path: str | Path,
        *,
        device: str | None = None,
        latent_dim: int | None = None,
        vocab_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.device = resolve_device(device)
        checkpoint = load_checkpoint(checkpoint_path)
        self._tokenizer = CaptionTokenizer(tokenizer_path)
        _check_dimensions(checkpoint, self._tokenizer, latent_dim, vocab_size)
        self.shape = CANONICAL_SHAPES[self.device.type]
        self.info = _describe(checkpoint, self._tokenizer, self.shape)
        network = checkpoint.build()
        self._decoder: Decoder
        if self.device.type == "cpu":
            self._decoder = CpuDecoder(network, self.shape, threads or usable_cores())
        else:
            self._decoder = CudaDecoder(network, self.shape, self.device)

    def generate(self, seeds: Sequence[int]) -> list[Generated]:
        """Return one result per seed, in order; each depends on its own seed alone."""
        if not seeds:
            return []
        latents = draw_latents(seeds, self.info.latent_dim)
        pixels, tokens = self._decoder.decode(latents)
        pictures = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        return [
            Generated(seed, picture, self._tokenizer.decode(ids))
            for seed, picture, ids in zip(seeds, pictures, tokens.tolist(), strict=True)
        ]

    def self_check(self) -> None:
        """Warm up, and prove that a seed gives the same bits alone and in company.

        Raises:
            SetupError: if it does not; the model must not serve then.
        """
        together = self.generate(SELF_CHECK_SEEDS)
        for wanted in reversed(together):
            (alone,) = self.generate([wanted.seed])
            if alone.caption != wanted.caption or not np.array_equal(alone.pixels, wanted.pixels):
                raise SetupError(
                    f"self-check failed: seed {wanted.seed} gives other bits alone than in a batch of "
                    f"{len(together)} on {self.device} (torch {torch.__version__}): this machine cannot keep the "
                    "promise of one result per seed; report it with the output of: python -m worker doctor"
                )


def resolve_device(name: str | None) -> torch.device:
    """Return the device of that name, or the best one that is there for ``None``.

    Raises:
        DeviceError: naming the device that is not there.
    """
    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise DeviceError(f"device {name!r} is not known: use cpu, cuda or cuda:0 (or nothing, to detect it)")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise DeviceError(f"device {name!r} is not there ({found} CUDA devices seen): use cpu, or check the driver")
    return device


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _describe(checkpoint: Checkpoint, tokenizer: CaptionTokenizer, shape: CanonicalShape) -> ModelInfo:
    identity = {
        "checkpoint": checkpoint.sha256,
        "tokenizer": tokenizer.sha256,
        "architecture": ARCHITECTURE,
        "precision": PRECISION,
        "shape": asdict(shape),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    name = re.sub(r"[^a-z0-9]+", "-", checkpoint.config.name.lower()).strip("-")[:32] or "model"
    return ModelInfo(
        id=f"{name}-{digest[:16]}",
        name=checkpoint.config.name,
        architecture=ARCHITECTURE,
        precision=PRECISION,
        trained=checkpoint.trained,
        checkpoint_sha256=checkpoint.sha256,
        tokenizer_sha256=tokenizer.sha256,
        latent_dim=checkpoint.config.latent_dim,
        vocab_size=checkpoint.config.vocab_size,
        image_size=checkpoint.config.image_size,
        device=shape.device,
        parameters=checkpoint.parameters,
    )


def _check_dimensions(
    checkpoint: Checkpoint, tokenizer: CaptionTokenizer, latent_dim: int | None, vocab_size: int | None
) -> None:
    config = checkpoint.config
    for name, asked, found in (
        ("latent_dim", latent_dim, config.latent_dim),
        ("vocab_size", vocab_size, config.vocab_size),
    ):
        if asked is not None and asked != found:
            raise CheckpointError(
                f"{name}={asked} was asked for, but {checkpoint.path} has {name}={found}: give {found}"
            )
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{tokenizer.path} has {tokenizer.vocab_size} tokens, but {checkpoint.path} has "
            f"vocab_size={config.vocab_size}: the two files do not belong together"
        )


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


def _channels_last(network: SeedNetwork) -> None:
    network.picture.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _pad(latents: Tensor, rows: int) -> Tensor:
    if len(latents) == rows:
        return latents
    return torch.cat([latents, latents.new_zeros(rows - len(latents), latents.shape[1])])


def _to_bytes(pictures: Tensor) -> Tensor:
    return (pictures * 255).round_().to(torch.uint8)
