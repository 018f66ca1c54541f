"""Who may use the HTTP API, read from the environment: where it listens, whether it asks for keys, and how often."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import Field

from producer.keys import MAX_RATE
from producer.settings import ProducerSettings


class AccessSettings(ProducerSettings):
    """The part of the API's settings that says who may use it."""

    api_host: str = "127.0.0.1"
    """Address that the API listens on; 0.0.0.0 for all."""

    api_auth: Literal["auto", "required", "open"] = "auto"
    """Whether API keys are needed: ``required``, ``open``, or ``auto``, which is open on a loopback address alone."""

    api_trusted_hosts: str = ""
    """Names under which an open API may be asked, besides ``localhost`` and addresses; comma list, ``*`` for any."""

    api_rate_per_minute: int = Field(default=1200, ge=0, le=MAX_RATE)
    """Requests that a key may make in a minute, unless it has a rate of its own; 0 for no limit."""

    @property
    def listens_on_loopback(self) -> bool:
        """Whether this machine alone can reach the API."""
        return self.api_host == "localhost" or (
            is_address(self.api_host) and ipaddress.ip_address(self.api_host).is_loopback
        )

    @property
    def requires_key(self) -> bool:
        """Whether nobody gets in without an API key."""
        return self.api_auth == "required" or (self.api_auth == "auto" and not self.listens_on_loopback)

    @property
    def trusted_hosts(self) -> frozenset[str]:
        """Names under which an open API may be asked."""
        named = (name.strip().lower() for name in self.api_trusted_hosts.split(","))
        return frozenset({"localhost", self.api_host.lower(), *named} - {""})


def is_address(text: str) -> bool:
    """Whether this is the literal of an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
