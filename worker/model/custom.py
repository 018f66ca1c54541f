"""How a user's network is called: in its precision, each copy by one thread, with a check of all that it returns."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from worker.errors import ArchitectureError
from worker.model.usercode import calling, fixed_randomness, random_states

PROBE_ROWS = (1, 8)
"""Latents that are decoded at a time when a network is tried out."""

SLACK = 1e-3
"""How far beyond [0, 1] a picture may go by rounding."""


class CustomNetwork(nn.Module):
    """A user's network behind a counter where everything is checked; it has the methods that the network has.

    Args:
        network: with its weights, on the CPU.
        dotted: what it is called in messages.
        vocab_size: number of the tokenizer's tokens.
        dtype: what it computes in.

    Raises:
        ArchitectureError: here and from every method, if the network fails or returns what it should not.
    """

    def __init__(self, network: Any, dotted: str, vocab_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.to(dtype) if dtype is not torch.float32 else network
        self.dotted, self.vocab_size, self.dtype = dotted, vocab_size, dtype
        self.image_size = 0
        self.joint = not (hasattr(network, "decode_pictures") and hasattr(network, "decode_tokens"))

    def replica(self) -> CustomNetwork:
        """Return a copy for another thread: the same parameters, but buffers and attributes of its own."""
        shared = {id(tensor): tensor for tensor in self.parameters()}
        return calling(self.dotted, "cannot be copied for another thread", lambda: copy.deepcopy(self, shared))

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures and tokens of latents float32 [B, latent_dim]."""
        result = self._call("decode", latents)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ArchitectureError(f"{self.dotted}.decode returns {type(result).__name__}, not (pictures, tokens)")
        return self._pictures(result[0], len(latents)), self._tokens(result[1], len(latents))

    def decode_pictures(self, latents: Tensor) -> Tensor:
        """Return the pictures alone."""
        return self._pictures(self._call("decode_pictures", latents), len(latents))

    def decode_tokens(self, latents: Tensor) -> Tensor:
        """Return the tokens alone."""
        return self._tokens(self._call("decode_tokens", latents), len(latents))

    @torch.inference_mode()
    def try_out(self, latent_dim: int) -> None:
        """Decode a few latents in each way in which the network will be called; notes the size of a picture.

        Raises:
            ArchitectureError: also if it draws random numbers more than once, and so would at every call.
        """
        latents = torch.randn(max(PROBE_ROWS), latent_dim, generator=torch.Generator().manual_seed(0))
        self._try_rows(latents)
        with fixed_randomness(seed=1):
            before = random_states()
            self._try_rows(latents)
            if random_states() != before:
                raise ArchitectureError(
                    f"{self.dotted} draws random numbers when it decodes: draw them from the latent"
                )

    def _try_rows(self, latents: Tensor) -> None:
        for rows in PROBE_ROWS:
            if self.joint:
                self.decode(latents[:rows].clone())
            else:
                self.decode_pictures(latents[:rows].clone())
                self.decode_tokens(latents[:rows].clone())

    def _call(self, method: str, latents: Tensor) -> Any:
        what = f"fails in {method} on latents {list(latents.shape)}"
        return calling(self.dotted, what, lambda: getattr(self.network, method)(latents.to(self.dtype)))

    def _pictures(self, pictures: Any, rows: int) -> Tensor:
        if not isinstance(pictures, Tensor):
            raise ArchitectureError(f"{self.dotted} returns pictures as {type(pictures).__name__}, not as a tensor")
        shape = tuple(pictures.shape)
        if len(shape) != 4 or shape[:2] != (rows, 3) or shape[2] != shape[3] or not shape[2]:
            raise ArchitectureError(f"{self.dotted} returns pictures {shape}, not [{rows}, 3, H, H]")
        if self.image_size not in (0, shape[2]):
            raise ArchitectureError(f"{self.dotted} returns pictures of {shape[2]} pixels, before of {self.image_size}")
        self.image_size = shape[2]
        if pictures.dtype == torch.uint8:
            return pictures
        if not pictures.is_floating_point():
            raise ArchitectureError(f"{self.dotted} returns pictures of {pictures.dtype}, not floating point or uint8")
        low, high = pictures.min().item(), pictures.max().item()
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise ArchitectureError(
                f"{self.dotted} returns pictures from {low:g} to {high:g}, not in [0, 1]: {_advice(low, high)}"
            )
        return pictures

    def _tokens(self, tokens: Any, rows: int) -> Tensor:
        if not isinstance(tokens, Tensor) or tokens.dim() != 2 or len(tokens) != rows or tokens.dtype != torch.int64:
            found = f"{tuple(tokens.shape)} {tokens.dtype}" if isinstance(tokens, Tensor) else type(tokens).__name__
            raise ArchitectureError(f"{self.dotted} returns tokens {found}, not int64 [{rows}, T]")
        if not tokens.numel():
            raise ArchitectureError(f"{self.dotted} returns no tokens: a caption needs at least one")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.vocab_size:
            raise ArchitectureError(
                f"{self.dotted} returns token {low if low < 0 else high}, but the tokenizer has {self.vocab_size} "
                "tokens: use the tokenizer that the model was trained with"
            )
        return tokens


def _advice(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "they are not finite: look into the weights"
    if low >= -SLACK and high > 2:
        return "divide by 255, or return uint8"
    return "add (x + 1) / 2 after a tanh, or a clamp"
