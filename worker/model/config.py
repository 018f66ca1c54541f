"""Dimensions of the network. They travel inside the checkpoint, so that a checkpoint says by itself what it is.

Values come in from a checkpoint or a preset and are checked; nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker.errors import CheckpointError

ARCHITECTURE = "seedmill.decoder/1"
"""Name and version of the network in worker/model/network.py; part of the checkpoint and of the model id."""


Width = Annotated[int, Field(ge=1, le=65_536)]
Side = Annotated[int, Field(ge=1, le=1024)]
Depth = Annotated[int, Field(ge=1, le=256)]

MAX_IMAGE_SIZE = 8192
"""Largest height and width of a picture in pixels; like the limits above far beyond sense, and within memory."""


MAX_COORDINATES = 2**26
"""Most values of the coordinate features of a grid, so that a small file cannot ask for much memory."""


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PictureConfig(_Config):
    """The grid decoder: a small grid, doubled between stages and enlarged by ``shuffle`` at the end."""

    kind: Literal["grid"] = "grid"

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
        if (self.size // self.shuffle) ** 2 * (3 + 4 * self.frequencies) > MAX_COORDINATES:
            raise ValueError("its grids are too large: take a larger shuffle, or fewer frequencies")
        return self


class CodesConfig(_Config):
    """What is read off the latent: choices, each of a few, and continuous values."""

    choices: tuple[tuple[str, Annotated[int, Field(ge=2, le=256)]], ...] = Field(min_length=1, max_length=64)
    """Name and number of each."""
    values: Width

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [name for name, _ in self.choices]
        if len(set(names)) < len(names) or "" in names:
            raise ValueError(f"choices need names that differ, not {', '.join(map(repr, names))}")
        return self

    @property
    def hot(self) -> int:
        """Width of the choices one-hot."""
        return sum(size for _, size in self.choices)

    @property
    def features(self) -> int:
        """Width of the choices one-hot and the values side by side; one output of the projection each."""
        return self.hot + self.values


class LayersConfig(_Config):
    """The layered decoder: planes in learned poses and colours, finished on the canvas of a style."""

    kind: Literal["layers"] = "layers"
    size: Side
    """Height and width of the picture, and of the canvases, in pixels."""
    plane: Side
    """Height and width of a learned plane."""
    layers: tuple[str, ...] = Field(min_length=1, max_length=64)
    """For each layer from back to front the choice that picks its plane."""
    textures: Width
    """Channels of a canvas beside its two of displacement."""
    pose_width: Width
    color_width: Width
    finish_width: Width
    """Hidden widths of the networks that make poses, colours and pixels."""
    scene: str = "scene"
    style: str = "style"
    mirror: str = "mirror"
    """Names of the choices that pick the set of layers, the canvas, and whether the content is mirrored."""

    def shapes(self, codes: CodesConfig) -> int:
        """Return the number of planes of a layer."""
        return max(dict(codes.choices)[name] for name in self.layers)


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

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")
    """Short name, shown in logs and in the picture's metadata."""
    latent_dim: Width = 1024
    vocab_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1266
    codes: CodesConfig | None = None
    """What is read off the latent first; without it the decoders see the latent itself."""
    picture: PictureConfig | LayersConfig = Field(discriminator="kind")
    text: TextConfig

    @model_validator(mode="before")
    @classmethod
    def _grid_is_the_default(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(picture := data.get("picture"), dict) and "kind" not in picture:
            return {**data, "picture": {**picture, "kind": "grid"}}
        return data

    @model_validator(mode="after")
    def _layers_have_their_choices(self) -> Self:
        if isinstance(self.picture, LayersConfig):
            if self.codes is None:
                raise ValueError("a picture of kind 'layers' needs codes")
            named = {*self.picture.layers, self.picture.scene, self.picture.style, self.picture.mirror}
            if missing := sorted(named - dict(self.codes.choices).keys()):
                raise ValueError(f"codes have no choice named {', '.join(missing)}")
            if dict(self.codes.choices)[self.picture.mirror] != 2:
                raise ValueError(f"the choice {self.picture.mirror!r} must be one of 2: mirrored or not")
            if self.codes.values < 2:
                raise ValueError("a picture of kind 'layers' needs two values or more: they shift its canvas")
        return self

    @property
    def text_inputs(self) -> int:
        """Width of what the caption decoder reads: the latent, or the choices one-hot."""
        return self.latent_dim if self.codes is None else self.codes.hot

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


DEMO_CODES = CodesConfig(
    choices=(
        *(("scene", 6), ("style", 6), ("time", 4), ("palette", 6)),
        *(("variant", 4), ("detail", 4), ("mirror", 2), ("wording", 8)),
    ),
    values=16,
)
DEMO_LAYERS = LayersConfig(
    size=256,
    plane=96,
    layers=("variant", "time", "variant", "variant", "detail", "variant", "detail", "detail"),
    textures=4,
    pose_width=128,
    color_width=128,
    finish_width=32,
)

PRESETS: Mapping[str, ModelConfig] = {
    "demo": ModelConfig(
        name="demo",
        codes=DEMO_CODES,
        picture=DEMO_LAYERS,
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
