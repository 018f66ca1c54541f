"""The whole network: one latent goes in, a picture and the tokens of a caption come out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from worker.model.codes import Codes, LatentCodes
from worker.model.config import ModelConfig, PictureConfig
from worker.model.layers import LayeredPicture
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
        self.codes = None if config.codes is None else LatentCodes(config.latent_dim, config.codes)
        self.picture = _picture_decoder(config)
        self.text = TextDecoder(config.text_inputs, config.vocab_size, config.text)

    def in_bfloat16(self) -> SeedNetwork:
        """Compute in bfloat16 from now on; what is read off a latent, and where a layer stands, stay as they are."""
        self.text.to(torch.bfloat16)
        (self.picture.finish if isinstance(self.picture, LayeredPicture) else self.picture).to(torch.bfloat16)
        return self

    def read(self, latents: Tensor) -> Codes | None:
        """Return what the latents decide, or ``None`` for a network that has no codes."""
        return None if self.codes is None else self.codes(latents)

    def decode_pictures(self, latents: Tensor) -> Tensor:
        """Return float32 [B, 3, H, W] in [0, 1] for latents float32 [B, latent_dim]."""
        pictures: Tensor = self.picture(self.read(latents) if isinstance(self.picture, LayeredPicture) else latents)
        return pictures

    def decode_tokens(self, latents: Tensor) -> Tensor:
        """Return token ids int64 [B, max_tokens] for latents float32 [B, latent_dim]."""
        codes = self.read(latents)
        return self.text.generate(latents if codes is None else codes.hot)

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures and token ids for latents float32 [B, latent_dim]."""
        return self.decode_pictures(latents), self.decode_tokens(latents)


def _picture_decoder(config: ModelConfig) -> PictureDecoder | LayeredPicture:
    if isinstance(config.picture, PictureConfig):
        return PictureDecoder(config.latent_dim, config.picture)
    if config.codes is None:
        raise ValueError("a picture of kind 'layers' needs codes")
    return LayeredPicture(config.codes, config.picture)


def initialize(network: SeedNetwork, seed: int) -> None:
    """Fill all weights with reproducible random values: an untrained network, whose pictures are washes of colour.

    Weights are drawn in float64 and cast, so that every machine gets the same ones. The sub-pixels of the head share
    their weights (ICNR, Aitken et al. 2017, https://arxiv.org/abs/1707.02937), which avoids a checkerboard, and these
    add up to nothing, so that no colour is favoured.
    """
    generator = torch.Generator().manual_seed(seed)
    layered = isinstance(network.picture, LayeredPicture)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if layered and name.startswith("picture."):
                continue
            if parameter.dim() < 2:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
                continue
            gain = next((value for part, value in INIT_GAINS.items() if part in name), 1.0)
            deviation = 1.0 if name in EMBEDDINGS else gain / math.sqrt(parameter[0].numel())
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * deviation
            if name == "picture.head.weight" and isinstance(network.config.picture, PictureConfig):
                repeats = network.config.picture.shuffle**2
                values = values - values.mean(dim=(1, 2, 3), keepdim=True)
                values = values[::repeats].repeat_interleave(repeats, dim=0)
            parameter.copy_(values)
        if network.codes is not None:
            network.codes.initialize(generator)
        if isinstance(network.picture, LayeredPicture):
            network.picture.initialize(generator)
