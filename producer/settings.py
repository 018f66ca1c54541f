"""The meeting point of producers and workers, read from the environment: where Redis is and how long results live.

Knows nothing of the worker's own settings (worker/settings.py) and of protocol constants (producer/contract.py).
"""

from __future__ import annotations

from typing import Self

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from producer.contract import DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE
from producer.errors import SettingsError

PREFIX = "SEEDMILL_"


class Settings(BaseSettings):
    """Base of both settings classes: variables are the upper-case field names behind ``SEEDMILL_``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read the environment; an override that is ``None`` counts as not given.

        Raises:
            SettingsError: naming the variable, its value and what is wrong with it.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError("; ".join(cls._explain(given, item) for item in error.errors())) from error

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the environment variable that sets ``field``."""
        alias = cls.model_fields[field].validation_alias
        if isinstance(alias, AliasChoices):
            alias = str(alias.choices[0])
        return alias if isinstance(alias, str) else PREFIX + field.upper()

    @classmethod
    def _explain(cls, given: dict[str, object], item: object) -> str:
        loc, message, value = item["loc"][0], item["msg"].removeprefix("Value error, "), item.get("input")  # type: ignore[index, attr-defined]
        name = str(loc) if loc in given or loc not in cls.model_fields else cls.variable(str(loc))
        return f"{name}={value!r}: {message}"


class ProducerSettings(Settings):
    """What a program that enqueues and polls needs to know."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis or Valkey: ``redis://[user:password@]host:port/db``, ``rediss://`` for TLS, ``valkey://`` likewise."""

    result_ttl_s: int = Field(default=7 * 24 * 3600, ge=3600, le=10 * 365 * 24 * 3600)
    """Seconds that a job waits for a worker, or its results can be polled, after its last change."""

    chunk_size: int = Field(default=DEFAULT_CHUNK_SIZE, ge=1, le=MAX_CHUNK_SIZE)
    """Seeds in one message."""
