"""The network: one latent decodes into a picture and a caption that share it.

The two decoders can be called apart, because their canonical shapes differ (worker/model/engine.py).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from worker.model.config import ModelConfig
from worker.model.picture import PictureDecoder
from worker.model.text import TextDecoder

INIT_GAINS = {"picture.head": 0.9, "picture.style": 1.5, "modulation": 1.0, "conv": 1.4, "text.prefix": 1.0}
"""Standard deviation times sqrt(fan-in) of random weights, by a part of the name; 1 for the others."""

EMBEDDINGS = ("text.tokens.weight", "text.positions.weight")


class SeedNetwork(nn.Module):
    """Picture decoder and caption decoder over one latent space."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.picture = PictureDecoder(config.latent_dim, config.picture)
        self.text = TextDecoder(config.latent_dim, config.vocab_size, config.text)

    def decode_pictures(self, latents: Tensor) -> Tensor:
        """Return float32 [B, 3, H, W] in [0, 1] for latents float32 [B, latent_dim]."""
        pictures: Tensor = self.picture(latents)
        return pictures

    def decode_tokens(self, latents: Tensor) -> Tensor:
        """Return token ids int64 [B, max_tokens] for latents float32 [B, latent_dim]."""
        return self.text.generate(latents)

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures and token ids for latents float32 [B, latent_dim]."""
        return self.decode_pictures(latents), self.decode_tokens(latents)


def initialize(network: SeedNetwork, seed: int) -> None:
    """Fill all weights with reproducible random values: an untrained network, whose pictures are washes of colour.

    Weights are drawn in float64 and cast, so that every machine gets the same ones. The sub-pixels of the head share
    their weights (ICNR, Aitken et al. 2017, https://arxiv.org/abs/1707.02937), which avoids a checkerboard, and these
    add up to nothing, so that no colour is favoured.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
                continue
            gain = next((value for part, value in INIT_GAINS.items() if part in name), 1.0)
            deviation = 1.0 if name in EMBEDDINGS else gain / math.sqrt(parameter[0].numel())
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * deviation
            if name == "picture.head.weight":
                repeats = network.config.picture.shuffle**2
                values = values - values.mean(dim=(1, 2, 3), keepdim=True)
                values = values[::repeats].repeat_interleave(repeats, dim=0)
            parameter.copy_(values)
