"""Secrets that sign webhooks: one for each tenant, derived from a master secret, so that none has to be stored.

The master is the setting's, or one that was made once and is kept in Redis. Several masters rotate: all of them sign.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from producer.api.webhooks.settings import WebhookSettings
from producer.contract import WEBHOOK_SECRET_KEY
from producer.errors import SettingsError
from producer.lua import SCRIPTS, Call
from producer.settings import reveal

PREFIX = "whsec_"
MASTER_BYTES = 32
MIN_MASTER_BYTES = 24
CONTEXT = "seedmill webhook "


def set_masters(settings: WebhookSettings) -> list[bytes]:
    """Return the master secrets of the setting, the first one first; none if it is not set.

    Raises:
        SettingsError: one of them cannot be used; the message does not show it.
    """
    return [_decode(text.strip()) for text in (reveal(settings.webhook_secret) or "").split(",") if text.strip()]


def keep_master() -> Call:
    """Make a master secret unless Redis keeps one; answers the one that there is, which :func:`kept_masters` reads."""
    return Call(SCRIPTS["keep_secret"], [WEBHOOK_SECRET_KEY], [_encode(secrets.token_bytes(MASTER_BYTES))])


def kept_masters(answer: str) -> list[bytes]:
    """Read what :func:`keep_master` answered."""
    return [_decode(answer)]


def tenant_secrets(masters: Sequence[bytes], tenant: str) -> list[str]:
    """Return a tenant's secrets as receivers verify with them, the first one first."""
    context = (CONTEXT + tenant).encode()
    return [_encode(hmac.digest(master, context, hashlib.sha256)) for master in masters]


def _encode(secret: bytes) -> str:
    return PREFIX + base64.b64encode(secret).decode()


def _decode(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else b""
    except binascii.Error:
        secret = b""
    if len(secret) < MIN_MASTER_BYTES:
        raise SettingsError(
            f"SEEDMILL_WEBHOOK_SECRET has a value that is not {PREFIX} and base64 of {MIN_MASTER_BYTES} bytes or more: "
            f'make one with: echo "{PREFIX}$(openssl rand -base64 {MASTER_BYTES})"'
        )
    return secret
