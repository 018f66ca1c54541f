"""The metadata object of a picture (README: What is stored), read as far as the API tells of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from producer.contract import SCHEMA_VERSION


class StoredImage(BaseModel):
    """The PNG that the metadata names."""

    model_config = ConfigDict(frozen=True, strict=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class StoredMetadata(BaseModel):
    """What is told of a seed that is published."""

    model_config = ConfigDict(frozen=True, strict=True)

    version: int = Field(alias="schema", ge=1, le=SCHEMA_VERSION)
    seed: int
    caption: str
    image: StoredImage


def parse_metadata(content: bytes | None, seed: int) -> StoredMetadata | None:
    """Return the metadata of a seed; ``None`` if this is damaged, of a later release, or of another seed."""
    try:
        found = StoredMetadata.model_validate_json(content or b"")
    except ValidationError:
        return None
    return found if found.seed == seed else None
