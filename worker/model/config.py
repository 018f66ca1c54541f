"""Dimensions of the network. They travel inside the checkpoint, so that a checkpoint says by itself what it is.

Values come in from a checkpoint or a preset and are checked; nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker.errors import CheckpointError

ARCHITECTURE = "seedmill.decoder/1"
"""Name and version of the network in worker/model/network.py; part of the checkpoint and of the model id."""


Width = Annotated[int, Field(ge=1, le=65_536)]
Side = Annotated[int, Field(ge=1, le=1024)]
Depth = Annotated[int, Field(ge=1, le=256)]

MAX_IMAGE_SIZE = 8192
"""Largest height and width of a picture in pixels; like the limits above far beyond sense, and within memory."""


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PictureConfig(_Config):
    """The picture decoder: a small grid, doubled between stages and enlarged by ``shuffle`` at the end."""

    start: Side
    """Height and width of the first grid."""
    stem: Width
    """Channels of the first grid, which are drawn from the latent."""
    channels: tuple[Width, ...] = Field(min_length=1, max_length=12)
    """Channels of each stage."""
    blocks: tuple[Depth, ...] = Field(min_length=1)
    """Residual blocks of each stage."""
    shuffle: Depth
    """Enlargement of the last grid by pixel shuffle."""
    style: Width
    """Width of the vector, made from the latent, that modulates every block."""
    frequencies: int = Field(ge=0, le=64)
    """Octaves of the coordinate features that are fed to each stage."""

    @property
    def size(self) -> int:
        """Height and width of the picture in pixels."""
        return int(self.start * 2 ** (len(self.channels) - 1) * self.shuffle)

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        if len(self.channels) != len(self.blocks):
            raise ValueError(f"{len(self.channels)} channels but {len(self.blocks)} blocks: give one of each a stage")
        if self.size > MAX_IMAGE_SIZE:
            raise ValueError(f"pictures of {self.size}x{self.size} pixels are too large: at most {MAX_IMAGE_SIZE}")
        return self


class TextConfig(_Config):
    """The caption decoder: a causal transformer that first reads ``prefix`` vectors made from the latent."""

    width: Width
    layers: Depth
    heads: Depth
    prefix: Side
    min_tokens: Side = 5
    """Tokens before the end token is allowed."""
    max_tokens: Side = 20
    """Tokens after which the caption ends."""
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    unk_id: int = 3

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is above max_tokens {self.max_tokens}")
        return self


class ModelConfig(_Config):
    """Everything that is needed to build the network."""

    name: str
    """Short name, shown in logs and in the picture's metadata."""
    latent_dim: Width = 1024
    vocab_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1266
    picture: PictureConfig
    text: TextConfig

    @model_validator(mode="after")
    def _special_tokens_are_tokens(self) -> Self:
        text = self.text
        for name in ("pad_id", "bos_id", "eos_id", "unk_id"):
            if not 0 <= getattr(text, name) < self.vocab_size:
                raise ValueError(f"{name} {getattr(text, name)} is not below vocab_size {self.vocab_size}")
        return self

    @property
    def image_size(self) -> int:
        """Height and width of the picture in pixels."""
        return self.picture.size

    @classmethod
    def read(cls, data: object) -> ModelConfig:
        """Check and return the config that a checkpoint holds.

        Raises:
            CheckpointError: naming the field that is missing, unknown or wrong.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, item['loc'])) or 'config'}: {item['msg']}" for item in error.errors())
            raise CheckpointError(
                f"its config does not describe a {ARCHITECTURE} network: {'; '.join(faults)}"
            ) from error


PRESETS: Mapping[str, ModelConfig] = {
    "demo": ModelConfig(
        name="demo",
        picture=PictureConfig(
            start=8, stem=32, channels=(128, 128, 96, 48), blocks=(1, 1, 1, 1), shuffle=4, style=128, frequencies=2
        ),
        text=TextConfig(width=96, layers=2, heads=4, prefix=2),
    ),
    "large": ModelConfig(
        name="large",
        picture=PictureConfig(
            start=8, stem=128, channels=(768, 768, 512, 256), blocks=(2, 2, 2, 3), shuffle=4, style=256, frequencies=2
        ),
        text=TextConfig(width=512, layers=4, heads=8, prefix=4),
    ),
}
"""``demo`` is small enough to ship; ``large`` has about 88 million parameters."""
