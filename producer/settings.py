"""The meeting point of producers and workers, read from the environment: where Redis and the object store are.

Knows nothing of the worker's own settings (worker/settings.py) and of protocol constants (producer/contract.py). S3
uses the variables that every S3 tool uses.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from producer.contract import DEFAULT_CHUNK_SIZE, DEFAULT_QUEUE, MAX_CHUNK_SIZE
from producer.errors import SettingsError
from producer.queue_keys import is_queue_name
from producer.redaction import hide_credentials

PREFIX = "SEEDMILL_"
FOLLOWS = "default_factory_not_called"
"""What pydantic says of a default that depends on a value that is wrong."""

MAX_URL_TTL_S = 7 * 24 * 3600
"""Longest life of a presigned URL: Signature Version 4 allows no more."""


class Settings(BaseSettings):
    """Base of all settings classes: variables are the upper-case field names behind ``SEEDMILL_``."""

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
            wrong = [item for item in error.errors() if item["type"] != FOLLOWS]
            raise SettingsError("; ".join(cls._explain(given, item) for item in wrong)) from error

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
        shown = hide_credentials(value) if isinstance(value, str) else value
        return f"{name}={shown!r}: {message}"


def _queue(value: str) -> str:
    if not is_queue_name(value):
        raise ValueError("a queue has 1 to 32 lower-case letters, digits and '-'")
    return value


class ProducerSettings(Settings):
    """What a program that enqueues and polls needs to know."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis or Valkey: ``redis://[user:password@]host:port/db``, ``rediss://`` for TLS, ``valkey://``; or Sentinels."""

    result_ttl_s: int = Field(default=7 * 24 * 3600, ge=3600, le=10 * 365 * 24 * 3600)
    """Seconds that a job waits for a worker, or its results can be polled, after its last change."""

    chunk_size: int = Field(default=DEFAULT_CHUNK_SIZE, ge=1, le=MAX_CHUNK_SIZE)
    """Seeds in one message."""

    queue: Annotated[str, AfterValidator(_queue)] = DEFAULT_QUEUE
    """Queue that jobs go to, and that a worker serves: each has one model."""


def _api_url(value: str | None) -> str | None:
    if value and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", value):
        raise ValueError(
            "write http://host:port or https://host, with a path before /v1 if it has one, and nothing else"
        )
    return value


class HttpSettings(Settings):
    """How a program that enqueues and polls reaches the HTTP API, if it does so by that."""

    api_url: Annotated[str | None, AfterValidator(_api_url)] = None
    """The HTTP API; wins over ``SEEDMILL_REDIS_URL``."""

    api_key: SecretStr | None = None
    """Key of the caller, where the API asks for one."""


def _endpoint(value: str | None) -> str | None:
    if value and not re.match(r"https?://[^/]", value):
        raise ValueError("begin it with http:// or https://")
    return value


def reveal(secret: SecretStr | None) -> str | None:
    """Return a secret; ``None`` if it is not set, or empty."""
    return (secret.get_secret_value() or None) if secret else None


class S3Settings(Settings):
    """How the object store is reached: shared by workers and by those who sign URLs."""

    s3_endpoint_url: Annotated[str | None, AfterValidator(_endpoint)] = Field(
        default=None, validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    )
    """The S3-compatible server; without it, AWS."""

    s3_region: str = Field(default="us-east-1", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    """Region used to sign requests."""

    s3_access_key_id: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    """Access key; without it, boto3's own chain (profile, instance role) is asked."""

    s3_secret_access_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    """Secret of the access key."""

    s3_session_token: SecretStr | None = Field(default=None, validation_alias="AWS_SESSION_TOKEN")
    """Token of temporary keys."""

    s3_addressing: Literal["path", "virtual"] = "path"
    """Where requests name the bucket: in the path, or in front of the server's name, as some services demand."""

    def client_options(self, endpoint_url: str | None = None) -> dict[str, str | None]:
        """Return what boto3's ``client("s3", ...)`` takes of these; another endpoint, if one is given."""
        return {
            "endpoint_url": endpoint_url or self.s3_endpoint_url,
            "region_name": self.s3_region,
            "aws_access_key_id": reveal(self.s3_access_key_id),
            "aws_secret_access_key": reveal(self.s3_secret_access_key),
            "aws_session_token": reveal(self.s3_session_token),
        }

    def compatible(self) -> dict[str, Any]:
        """Return the options of botocore's ``Config`` that every S3-compatible server takes."""
        return {
            "signature_version": "s3v4",
            "s3": {"addressing_style": self.s3_addressing},
            "response_checksum_validation": "when_required",  # else whoever opens a signed URL has to send a header
        }


def _prefix(value: str) -> str:
    if value and (value.startswith("/") or not value.endswith("/")):
        raise ValueError("end it in a slash and begin it without one, or leave it empty")
    return value


class BucketSettings(S3Settings):
    """Where in the object store pictures are: shared by workers and by the HTTP API."""

    s3_bucket: str = Field(default="seedmill", min_length=3, max_length=63)
    """Bucket that pictures and metadata go to."""

    s3_prefix: Annotated[str, AfterValidator(_prefix)] = ""
    """Put before every object key; ends in a slash, or is empty."""

    @property
    def s3_place(self) -> str:
        """The bucket and its server, fit for messages and logs."""
        return f"bucket {self.s3_bucket!r} at {hide_credentials(self.s3_endpoint_url or 'AWS S3')}"


class PresignSettings(S3Settings):
    """What signing URLs for users needs."""

    s3_public_endpoint_url: Annotated[str | None, AfterValidator(_endpoint)] = None
    """The S3-compatible server as users reach it; without it, the address that workers use."""

    s3_url_ttl_s: int = Field(default=3600, ge=1, le=MAX_URL_TTL_S)
    """Seconds that a presigned URL can be opened."""


class LogSettings(Settings):
    """How processes that serve write their log."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of log lines that are written."""

    log_format: Literal["auto", "json", "text"] = "auto"
    """Form of log lines; auto is text on a terminal and JSON elsewhere."""
