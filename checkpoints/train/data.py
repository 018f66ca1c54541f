"""Endless training data: attributes drawn at random, some pixels of the picture they ask for, and its caption.

Batch i depends on the seed and on i alone, so a run that is interrupted goes on as if it had not been.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from checkpoints.train.attributes import CATEGORIES, VALUES
from checkpoints.train.captions import write
from checkpoints.train.renderer import SIZE, Attributes, Renderer, Rendering
from worker.model.config import TextConfig

CAPTIONED = ("scene", "style", "time", "palette", "detail", "wording")
"""The attributes that a caption depends on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B pictures at P pixels each: what they show, where, what the teacher draws there, and the caption's token ids."""

    attributes: Attributes
    rows: Tensor
    columns: Tensor
    rendering: Rendering
    tokens: Tensor
    """int64 [B, 1 + max_tokens + 1]: begin, the words, end, padding."""


def draw_attributes(count: int, generator: torch.Generator) -> Attributes:
    """Return random attributes, distributed as those that a normal latent gives."""
    choices = [torch.randint(0, size, (count,), generator=generator) for _, size in CATEGORIES]
    return Attributes(torch.stack(choices, dim=1), torch.rand(count, VALUES, generator=generator))


def captions_of(attributes: Attributes) -> list[str]:
    """Return the caption of each."""
    columns = [attributes[name].tolist() for name in CAPTIONED]
    return [write(*numbers) for numbers in zip(*columns, strict=True)]


def encode_captions(captions: list[str], tokenizer: Tokenizer, config: TextConfig) -> Tensor:
    """Return int64 [B, max_tokens + 2]: the begin token, the words, the end token, padding."""
    rows = [[config.bos_id, *encoding.ids, config.eos_id] for encoding in tokenizer.encode_batch(captions)]
    width = config.max_tokens + 2
    return torch.tensor([row + [config.pad_id] * (width - len(row)) for row in rows])


def lattice(count: int, stride: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return int64 rows and columns [count, P] of every ``stride``-th pixel both ways, from a random first one each."""
    first = torch.randint(0, stride, (count, 2, 1, 1), generator=generator)
    steps = torch.arange(0, SIZE, stride)
    side = len(steps)
    rows = (first[:, 0] + steps[:, None]).expand(count, side, side)
    columns = (first[:, 1] + steps[None, :]).expand(count, side, side)
    return rows.reshape(count, -1), columns.reshape(count, -1)


class Pictures(Dataset[Batch]):
    """Batches by their number."""

    def __init__(self, seed: int, size: int, stride: int, tokenizer: Tokenizer, text: TextConfig) -> None:
        self.seed, self.size, self.stride = seed, size, stride
        self.tokenizer, self.text = tokenizer, text
        self.renderer = Renderer()

    def __getitem__(self, index: int) -> Batch:
        """Draw batch ``index``."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        attributes = draw_attributes(self.size, generator)
        rows, columns = lattice(self.size, self.stride, generator)
        with torch.no_grad():
            rendering = self.renderer.render(attributes, rows, columns)
        tokens = encode_captions(captions_of(attributes), self.tokenizer, self.text)
        return Batch(attributes, rows, columns, rendering, tokens)
