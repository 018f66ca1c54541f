"""The model at work: a batch of seeds in, pictures and captions out, the same bits whatever the batch.

Knows nothing of queues, files of pictures, or storage.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worker.errors import DeviceError, OutOfDeviceMemory, SetupError
from worker.machine import memory_limit, resident_bytes, usable_cores
from worker.model.decoders import CanonicalShape, CpuDecoder, CudaDecoder, Decoder, shape_for
from worker.model.generated import Generated, ModelInfo, unheard
from worker.model.latents import draw_latents
from worker.model.loaded import LoadedModel, Precision, load_model

SELF_CHECK_ALONE = (0, 1, 42)
"""Seeds that are generated alone and in company before a model serves."""


COMPANY = ": a row depends on its company"


class Engine:
    """A loaded model on its device.

    Args:
        checkpoint_path: a ``best.pt`` or a ``.safetensors`` file.
        tokenizer_path: the ``tokenizer.json`` that belongs to it.
        device: ``cuda``, ``cuda:N``, ``cpu``, or ``None`` for the first of these that is there.
        architecture: ``module:Class`` of the user's own network (architecture.Architecture); ``None`` for the built-in
            one.
        precision: ``fp32``, or ``bf16`` for bfloat16; part of the model id, since results differ.
        latent_dim, vocab_size: if given, what the checkpoint must have.
        threads: pictures that a CPU decodes side by side; ``None`` for one a core. Does not change any result.

    Raises:
        CheckpointError, ArchitectureError, TokenizerError, DeviceError: with what to do about it.
    """

    def __init__(
        self,
        checkpoint_path: str | Path,
        tokenizer_path: str | Path,
        *,
        device: str | None = None,
        architecture: str | None = None,
        precision: Precision = "fp32",
        latent_dim: int | None = None,
        vocab_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.device = resolve_device(device)
        model = load_model(
            checkpoint_path,
            tokenizer_path,
            architecture=architecture,
            precision=precision,
            latent_dim=latent_dim,
            vocab_size=vocab_size,
        )
        self._tokenizer = model.tokenizer
        self.shape = shape_for(self.device.type, model.network)
        self.info = _describe(model, self.shape)
        self._decoder: Decoder
        self._side_by_side = (threads or usable_cores()) if self.device.type == "cpu" else 1
        if self.device.type == "cpu":
            self._decoder = CpuDecoder(model.network, self.shape, self._side_by_side)
        else:
            self._decoder = CudaDecoder(model.network, self.shape, self.device)
        self._process = os.getpid()
        self._reference: Generated | None = None
        self._trusted = 0
        """Shortages of memory up to which the device is known to give the same bits."""
        if architecture:
            self.self_check()

    def facts(self) -> dict[str, str]:
        """Return what a log line says of the model."""
        info = self.info
        return {
            "model_id": info.id,
            "device": str(self.device),
            "architecture": info.architecture,
            "precision": info.precision,
            "weights": info.weights,
        }

    def memory_used(self) -> int:
        """Return the bytes in use of the GPU's memory, by whomever; on a CPU those that this process has."""
        if self.device.type == "cpu":
            return resident_bytes()
        free, whole = torch.cuda.mem_get_info(self.device)
        return int(whole - free)

    def memory_limit(self) -> int:
        """Return the bytes that the GPU has; on a CPU those that this process may use."""
        return memory_limit() if self.device.type == "cpu" else int(torch.cuda.mem_get_info(self.device)[1])

    @property
    def checked(self) -> bool:
        """Whether the self-check has passed."""
        return self._reference is not None

    def draw(self, seeds: Sequence[int]) -> list[Tensor]:
        """Return the latent of each seed, in order: float32 [latent_dim] on the CPU; may be called from any thread."""
        return list(draw_latents(seeds, self.info.latent_dim).unbind()) if seeds else []

    def generate(
        self, seeds: Sequence[int], latents: Sequence[Tensor] | None = None, free: Callable[[], None] = unheard
    ) -> list[Generated]:
        """Return one result per seed, in order; each depends on its own seed alone.

        Args:
            seeds: which.
            latents: what :meth:`draw` gave for them, if that was done beforehand.
            free: called when a core has no more to do for these seeds, or the GPU has none: whoever has more may call
                from another thread then. It may be called more than once, and from any thread.

        Raises:
            DecodeError, ArchitectureError: if the network gives what is no picture or no caption.
            OutOfDeviceMemory: if the GPU's memory does not suffice for a single block.
            SetupError: if PyTorch is set, or this process was made, so that results would be others.
        """
        if not seeds:
            return []
        if os.getpid() != self._process:
            raise SetupError("the model was loaded before this process was forked off: load it in each process")
        done = self._generate(seeds, latents, free)
        shortages = self._decoder.shortages
        if self._reference is not None and shortages > self._trusted:
            self._check_again(self._reference)
            self._trusted = shortages
        return done

    def self_check(self) -> None:
        """Warm up, and prove that a seed gives the same bits alone and in company.

        Raises:
            SetupError: if it does not; the model must not serve then.
        """
        rows = self.shape.picture_rows
        seeds = [*SELF_CHECK_ALONE, *range(2, 2 * rows)]  # two full blocks of the canonical shape, and one more
        together = self.generate(seeds)
        for number, wanted in enumerate(together[: len(SELF_CHECK_ALONE)]):
            first = self.generate([wanted.seed])[0]
            if number == 0 and not _same(first, self.generate([wanted.seed])[0]):
                raise self._refusal(
                    wanted.seed, "twice alone gave two results: the model draws random numbers, or keeps something"
                )
            if not _same(first, wanted):
                raise self._refusal(wanted.seed, f"alone gives other bits than in a batch of {len(seeds)}{COMPANY}")
        if rows > 1:
            for wanted, other in zip(together, reversed(self.generate(seeds[::-1])), strict=True):
                if not _same(wanted, other):
                    raise self._refusal(wanted.seed, f"gives other bits at another place of a batch{COMPANY}")
        for other in self.generate([together[0].seed] * self._side_by_side):
            if not _same(together[0], other):
                raise self._refusal(other.seed, "gives other bits beside itself: threads disturb each other")
        self._check_captions()
        self._reference, self._trusted = together[0], self._decoder.shortages

    def _generate(
        self, seeds: Sequence[int], latents: Sequence[Tensor] | None = None, free: Callable[[], None] = unheard
    ) -> list[Generated]:
        rows = draw_latents(seeds, self.info.latent_dim) if latents is None else torch.stack(list(latents))
        pixels, tokens = self._decoder.decode(rows, free)
        pictures = pixels.permute(0, 2, 3, 1).numpy()  # views; the encoder's threads put the bytes in order
        return [
            Generated(seed, picture, self._tokenizer.decode(ids))
            for seed, picture, ids in zip(seeds, pictures, tokens, strict=True)
        ]

    def _check_captions(self) -> None:
        """Prove the same of captions, whose blocks are larger than those of pictures where they cost little."""
        if self.shape.text_rows == self.shape.picture_rows:
            return
        latents = draw_latents(range(2 * self.shape.text_rows + 1), self.info.latent_dim)
        together = self._decoder.decode_tokens(latents)
        moved = self._decoder.decode_tokens(latents.flip(0))[::-1]
        for seed, (wanted, other) in enumerate(zip(together, moved, strict=True)):
            if wanted != other:
                raise self._refusal(seed, f"has another caption at another place of a batch{COMPANY}")
        for seed in SELF_CHECK_ALONE[:2]:
            if self._decoder.decode_tokens(latents[seed : seed + 1])[0] != together[seed]:
                raise self._refusal(seed, f"has another caption alone than in a batch of {len(latents)}{COMPANY}")

    def _check_again(self, wanted: Generated) -> None:
        """Look whether the device still gives the same bits: short of memory, its libraries may compute otherwise."""
        if not _same(wanted, self._generate([wanted.seed])[0]):
            raise OutOfDeviceMemory(
                f"since its memory did not suffice, {self.device} gives seed {wanted.seed} other bits than at start: "
                "end what else uses it, and start again"
            )

    def _refusal(self, seed: int, cause: str) -> SetupError:
        return SetupError(
            f"self-check failed: seed {seed} {cause} ({self.info.architecture} on {self.device}, torch "
            f"{torch.__version__}): the promise of one result per seed cannot be kept; look into the model, or "
            "report it with the output of: python -m worker doctor"
        )


def _same(first: Generated, second: Generated) -> bool:
    return first.caption == second.caption and np.array_equal(first.pixels, second.pixels)


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


def _describe(model: LoadedModel, shape: CanonicalShape) -> ModelInfo:
    identity = {
        "checkpoint": model.sha256,
        "tokenizer": model.tokenizer.sha256,
        "architecture": model.architecture,
        "precision": model.precision,
        "shape": asdict(shape),
        "sizes": [model.latent_dim, model.vocab_size, model.image_size],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    name = re.sub(r"[^a-z0-9]+", "-", model.name.lower()).strip("-")[:32] or "model"
    return ModelInfo(
        id=f"{name}-{digest[:16]}",
        name=model.name,
        architecture=model.architecture,
        precision=model.precision,
        trained=model.trained,
        weights=model.weights,
        checkpoint_sha256=model.sha256,
        tokenizer_sha256=model.tokenizer.sha256,
        latent_dim=model.latent_dim,
        vocab_size=model.vocab_size,
        image_size=model.image_size,
        device=shape.device,
        parameters=model.parameters,
    )
