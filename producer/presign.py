"""Presigned URLs: addresses under which users open published objects for a while, without keys of their own.

They are signed here, for the address under which users reach the store, and nothing is sent: whether the object is
there, and whether the keys may read it (``s3:GetObject``), the store says when a URL is opened. boto3 signs; it comes
with the extra ``s3``, so this module alone of the package needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from producer.errors import ExtraMissing, InvalidUri, SettingsError
from producer.redaction import hide_credentials, one_line
from producer.settings import MAX_URL_TTL_S, PresignSettings, reveal

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError
except ImportError as error:
    raise ExtraMissing(f"signing URLs needs boto3 ({error}): pip install boto3") from error

URI = re.compile(r"s3://(arn:[^/]*:accesspoint/[^/]+|[A-Za-z0-9._-]{1,255})/([^\ud800-\udfff]+)")
"""Bucket, or access point, and key."""


class Presigner:
    """Signs URLs of objects; safe to use from many threads.

    Make one and keep it: that takes longer than signing hundreds of URLs.

    Args:
        settings: where users reach the store, and the keys to sign with; by default those of the environment. Without
            keys boto3's own chain is asked, which may ask the network for those of an instance.

    Raises:
        SettingsError: there are no keys, or the endpoint cannot be used.
    """

    def __init__(self, settings: PresignSettings | None = None) -> None:
        self.settings = settings or PresignSettings.load()
        self._endpoint = _public_endpoint(self.settings)
        with self._translated():
            self._s3: Any = boto3.session.Session().client(
                "s3",
                endpoint_url=self._endpoint,
                region_name=self.settings.s3_region,
                aws_access_key_id=reveal(self.settings.s3_access_key_id),
                aws_secret_access_key=reveal(self.settings.s3_secret_access_key),
                aws_session_token=reveal(self.settings.s3_session_token),
                config=Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "path"},
                    response_checksum_validation="when_required",  # else a browser would have to send a header for it
                ),
            )
        self.url("s3://bucket/key")  # so that what is wrong with keys or endpoint is told now

    def url(self, s3_uri: str, expires_s: int | None = None) -> str:
        """Return the URL under which a GET reads the object ``s3://bucket/key`` for ``expires_s`` seconds from now.

        Left out, these are ``SEEDMILL_S3_URL_TTL_S``. A URL lives no longer than the keys that signed it: temporary
        ones (``AWS_SESSION_TOKEN``, the role of an instance) end it with them.

        Raises:
            InvalidUri: ``s3_uri`` names no object.
            SettingsError: ``expires_s`` is no whole number from 1 to 604800, or keys of boto3's chain are gone.
        """
        found = URI.fullmatch(s3_uri) if isinstance(s3_uri, str) else None
        if not found:
            raise InvalidUri(s3_uri)
        lifetime_s = self.settings.s3_url_ttl_s if expires_s is None else expires_s
        if type(lifetime_s) is not int or not 1 <= lifetime_s <= MAX_URL_TTL_S:
            raise SettingsError(f"expires_s={lifetime_s!r}: give whole seconds from 1 to {MAX_URL_TTL_S}")
        bucket, key = found.groups()
        with self._translated():
            return str(
                self._s3.generate_presigned_url(
                    "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=lifetime_s
                )
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise SettingsError("no keys to sign URLs with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        except (BotoCoreError, ValueError) as error:
            where = self._endpoint or "AWS S3"
            raise SettingsError(f"URLs of {where} cannot be signed: {one_line(error)}") from error


def _public_endpoint(settings: PresignSettings) -> str | None:
    """Return the server as users reach it; ``None`` for AWS."""
    endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url
    if endpoint and (shown := hide_credentials(endpoint)) != endpoint:
        raise SettingsError(
            f"{shown!r} has a user and a password, which URLs would show to everyone: "
            "set SEEDMILL_S3_PUBLIC_ENDPOINT_URL to the address without them"
        )
    return endpoint
