"""Presigned URLs: addresses under which users open published objects for a while, without keys of their own.

They are signed here, for the address under which users reach the store, and nothing is sent: whether the object is
there, and whether the keys may read it (``s3:GetObject``), the store says when a URL is opened. boto3 finds the keys
and signs for what is no plain bucket; for others this module does, which is much faster. boto3 comes with the extra
``s3``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from producer.errors import ExtraMissing, InvalidUri, SettingsError
from producer.redaction import hide_credentials, one_line
from producer.settings import MAX_URL_TTL_S, PresignSettings, reveal
from producer.sigv4 import STAMP, RequestSigner

try:
    import boto3
    from botocore.config import Config
    from botocore.credentials import Credentials
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError
except ImportError as error:
    raise ExtraMissing(f"signing URLs needs boto3 ({error}): pip install boto3") from error

URI = re.compile(r"s3://(arn:[^/]*:accesspoint/[^/]+|[A-Za-z0-9._-]{1,255})/([^\ud800-\udfff]+)")
"""Bucket, or access point, and key."""


PORTS = {"https": 443, "http": 80}
MAX_BUCKETS = 100
"""Buckets of which it is remembered how they are signed."""


class Presigner:
    """Signs URLs of objects; safe to use from many threads.

    Make one and keep it: that takes longer than signing thousands of URLs.

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
            session = boto3.session.Session()
            self._s3: Any = session.client(
                "s3",
                **self.settings.client_options(self._endpoint),
                config=Config(**self.settings.compatible()),
            )
            self._keys: Any = _given_keys(self.settings) or session.get_credentials()
        self._plain: dict[str, PlainSigner | None] = {}
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
            plain = self._plain_signer(bucket)
            return plain.sign(key, lifetime_s, _now()) if plain else self._sign(bucket, key, lifetime_s)

    def _sign(self, bucket: str, key: str, lifetime_s: int) -> str:
        return str(
            self._s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=lifetime_s)
        )

    def _plain_signer(self, bucket: str) -> PlainSigner | None:
        """Return what signs for a bucket as boto3 does, as was seen at a first key; ``None`` if only boto3 can."""
        if bucket not in self._plain:
            if len(self._plain) >= MAX_BUCKETS:
                self._plain.clear()
            theirs = self._sign(bucket, "key", 60)
            base, found, query = theirs.partition("/key?")
            signer = PlainSigner(base, self._keys, str(self._s3.meta.region_name))
            at = datetime.strptime(parse_qs(query)["X-Amz-Date"][0] + "+0000", f"{STAMP}%z") if found else _now()
            self._plain[bucket] = signer if signer.sign("key", 60, at) == theirs else None
        return self._plain[bucket]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise SettingsError("no keys to sign URLs with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        except (BotoCoreError, ValueError) as error:
            where = self._endpoint or "AWS S3"
            raise SettingsError(f"URLs of {where} cannot be signed: {one_line(error)}") from error


class PlainSigner:
    """Signs GETs of objects: AWS Signature Version 4 in the query, with no header but ``host``.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html

    Args:
        base: URL of the bucket, without a slash at the end.
        keys: botocore's; they are asked for every URL, so that they can refresh themselves.
        region: the region that is signed for.
    """

    def __init__(self, base: str, keys: Any, region: str) -> None:
        parts = urlsplit(base)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._host = host if parts.port in (None, PORTS.get(parts.scheme)) else f"{host}:{parts.port}"
        self._base = base
        self._path = parts.path
        self._keys = keys
        self._signer = RequestSigner(region)

    def sign(self, key: str, lifetime_s: int, now: datetime) -> str:
        """Return the URL under which a GET reads an object for so long from ``now`` on."""
        keys = self._keys.get_frozen_credentials()
        stamp = now.strftime(STAMP)
        holder = f"{keys.access_key}/{self._signer.scope(stamp)}"
        first = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={_quoted(holder)}"
            f"&X-Amz-Date={stamp}&X-Amz-Expires={lifetime_s}"
        )
        last = "&X-Amz-SignedHeaders=host"
        token = f"&X-Amz-Security-Token={_quoted(keys.token)}" if keys.token else ""
        path = quote(key, safe="/~")
        request = f"GET\n{self._path}/{path}\n{first}{token}{last}\nhost:{self._host}\n\nhost\nUNSIGNED-PAYLOAD"
        signature = self._signer.signature(request, stamp, keys.secret_key)
        return f"{self._base}/{path}?{first}{last}{token}&X-Amz-Signature={signature}"


def _now() -> datetime:
    return datetime.now(UTC)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _given_keys(settings: PresignSettings) -> Credentials | None:
    """Return the keys of the settings; ``None`` if those of boto3's chain are to be used."""
    key_id, secret = reveal(settings.s3_access_key_id), reveal(settings.s3_secret_access_key)
    return Credentials(key_id, secret, reveal(settings.s3_session_token)) if key_id and secret else None


def _public_endpoint(settings: PresignSettings) -> str | None:
    """Return the server as users reach it; ``None`` for AWS."""
    endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url
    if endpoint and (shown := hide_credentials(endpoint)) != endpoint:
        raise SettingsError(
            f"{shown!r} has a user and a password, which URLs would show to everyone: "
            "set SEEDMILL_S3_PUBLIC_ENDPOINT_URL to the address without them"
        )
    return endpoint
