"""Settings of webhooks, for those who send them and those who check their URLs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from producer.api.webhooks.addresses import Allowed
from producer.settings import ProducerSettings


def _receivers(value: str) -> str:
    Allowed.parse(value)
    return value


class WebhookSettings(ProducerSettings):
    """Who may be told of the end of a job, and how it is signed."""

    webhook_secret: SecretStr | None = None
    """``whsec_`` and base64 of 24 bytes or more, from which each tenant's secret is derived.

    With commas between several, all of them sign. Without any, one is made and kept in Redis.
    """

    webhook_allow_http: bool = False
    """Whether URLs may begin with http:// too."""

    webhook_allowed_hosts: Annotated[str, AfterValidator(_receivers)] = ""
    """Receivers that need not be public: host names and networks such as ``10.0.0.0/8``, with commas between them."""

    webhook_ca_file: Path | None = None
    """Certificates (PEM) of authorities that are trusted besides those of the system."""

    @property
    def webhook_receivers(self) -> Allowed:
        """The receivers that need not be public."""
        return Allowed.parse(self.webhook_allowed_hosts)
