"""What the environment says of the HTTP API; where Redis and the object store are is shared (producer/settings.py).

Who may use it is in producer/api/access_settings.py, who may be told of jobs in producer/api/webhooks/settings.py.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from producer.api.access_settings import AccessSettings
from producer.api.webhooks.settings import WebhookSettings
from producer.settings import BucketSettings, LogSettings, PresignSettings


def _url(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", value):
        raise ValueError("write it as https://host or https://host/path, or leave it empty")
    return value.rstrip("/")


def _path(value: str) -> str:
    if value and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise ValueError("begin it with a slash and end it without one, or leave it empty")
    return value


class ApiSettings(AccessSettings, WebhookSettings, PresignSettings, BucketSettings, LogSettings):
    """Everything that a process of the API reads."""

    api_port: int = Field(default=8000, ge=0, le=65535)
    """Port that it listens on; 0 for a free one."""

    api_public_url: Annotated[str, AfterValidator(_url)] = ""
    """The API as users reach it, for the addresses in its answers; without it, these are paths alone."""

    api_root_path: Annotated[str, AfterValidator(_path)] = ""
    """Path under which a proxy serves the API and that it takes away."""

    api_trusted_proxies: str = ""
    """Addresses and networks, between commas, whose X-Forwarded-For and X-Forwarded-Proto are believed."""

    api_max_body_bytes: int = Field(default=16_000_000, ge=1_000)
    """Longest body of a request."""

    api_max_queued_seeds: int = Field(default=20_000_000, ge=0)
    """Seeds of jobs that have not ended, beyond which new jobs are refused; 0 for no bound."""

    api_max_queued_bytes: int = Field(default=256 * 1024 * 1024, ge=0)
    """Bytes that the seeds of these jobs take up in Redis, beyond which new jobs are refused; 0 for no bound."""

    api_key_share: float = Field(default=0.5, gt=0, le=1)
    """Part of SEEDMILL_API_MAX_QUEUED_SEEDS that the jobs of one API key may hold."""

    api_max_waiting: int = Field(default=4096, ge=1)
    """Requests that may wait for jobs or stream their events at once; a quarter of them with one API key."""

    api_demo: bool = False
    """Whether the Gradio demo is served at /ui, which needs the extra ``demo``."""

    @property
    def base(self) -> str:
        """What stands before a path in the addresses of answers."""
        return self.api_public_url or self.api_root_path
