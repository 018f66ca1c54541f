"""The caption decoder: a causal transformer that reads a few vectors made from the latent and writes tokens greedily.

Input float32 [B, inputs], output int64 [B, max_tokens], padded behind the end token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.model.config import TextConfig

Cache = tuple[Tensor, Tensor]
"""Keys and values so far, each [B, heads, T, width / heads]."""


class Layer(nn.Module):
    """Pre-norm self-attention and a feed-forward of four times the width."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm2 = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Return [B, T, width] and the longer cache; without a cache the T positions see only those before them."""
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        x = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return x, (k, v)


class TextDecoder(nn.Module):
    """Latents, or the choices read off them, to token ids."""

    allowed: Tensor

    def __init__(self, inputs: int, vocab_size: int, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.prefix = nn.Linear(inputs, config.prefix * config.width)
        self.tokens = _table(vocab_size, config.width)
        self.positions = _table(config.prefix + 1 + config.max_tokens, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, vocab_size)
        forbidden = torch.zeros(vocab_size, device="cpu")
        forbidden[[config.pad_id, config.bos_id, config.unk_id]] = -torch.inf
        self.register_buffer("allowed", forbidden, persistent=False)

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """Return logits float32 [B, T, vocab] of the token after each of ``tokens`` int64 [B, T], for training.

        ``latents`` are float32 [B, inputs], latents or choices.
        """
        x = torch.cat([self._read(latents), self.tokens(tokens)], dim=1)
        x, _ = self._run(x + self.positions.weight[: x.shape[1]], None)
        return self._logits(x[:, self.config.prefix :])

    def generate(self, latents: Tensor) -> Tensor:
        """Return greedy captions, int64 [B, max_tokens], for latents or choices float32 [B, inputs]."""
        config = self.config
        current = torch.full((len(latents), 1), config.bos_id, device=latents.device)
        x = torch.cat([self._read(latents), self.tokens(current)], dim=1)
        caches: list[Cache] | None = None
        ended = torch.zeros(len(latents), dtype=torch.bool, device=latents.device)
        written = torch.full((len(latents), config.max_tokens), config.pad_id, device=latents.device)
        for step in range(config.max_tokens):
            start = 0 if caches is None else config.prefix + step
            x, caches = self._run(x + self.positions.weight[start : start + x.shape[1]], caches)
            logits = self._logits(x[:, -1]) + self.allowed
            if step < config.min_tokens:
                logits[:, config.eos_id] = -torch.inf
            choice = logits.argmax(dim=-1)
            ended |= choice == config.eos_id
            written[:, step] = torch.where(ended, config.pad_id, choice)
            # What follows the end is padding. On a GPU it costs less than to ask, for which the host would wait.
            if not ended.is_cuda and bool(ended.all()):
                break
            x = self.tokens(choice)[:, None]
        return written

    def _read(self, latents: Tensor) -> Tensor:
        prefix: Tensor = self.prefix(latents.to(self.prefix.weight.dtype))
        return prefix.view(len(latents), self.config.prefix, self.config.width)

    def _run(self, x: Tensor, caches: list[Cache] | None) -> tuple[Tensor, list[Cache]]:
        longer = []
        for index, layer in enumerate(self.layers):
            x, cache = layer(x, caches[index] if caches else None)
            longer.append(cache)
        return x, longer

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(x))
        return logits.float()


def _table(rows: int, width: int) -> nn.Embedding:
    """Return an embedding of zeros, to be filled like all weights (worker/model/network.py) or read from a file.

    PyTorch's own first draws values, and on the meta device imports its compiler for that: 1.4 s of each start.
    """
    return nn.Embedding(rows, width, _weight=torch.zeros(rows, width))
