"""The object store: bytes under a key in one bucket of any S3-compatible server.

Bucket and prefix come from the settings alone; no message can choose where to write. Knows nothing of models or
queues. boto3's errors become StorageError, in one line that says what to do. What each seed costs goes over worker.s3.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import IO, Any

import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)

from producer.redaction import one_line
from producer.settings import reveal
from worker.errors import BucketMissing, ObjectMissing, StorageDenied, StorageError, StorageUnreachable
from worker.s3.objects import MISSING, Objects, open_objects
from worker.s3.retries import ATTEMPTS
from worker.settings import StorageSettings

NO_BUCKET = (
    "does not exist: create it, correct SEEDMILL_S3_BUCKET, or set SEEDMILL_S3_CREATE_BUCKET=true for the worker"
)
SERVER_ERROR = 500
PASSING_STATUS = {408, 429}
PASSING_CODES = {
    "ExpiredToken",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "SlowDown",
    "TooManyRequests",
}
"""Refusals that say nothing of the object: too much at once, too slow, or a clock or key that somebody has to mend."""
UNREACHABLE = (
    *(ConnectionError, HTTPClientError, IncompleteReadError),
    *(CredentialRetrievalError, MetadataRetrievalError),
)
"""What may pass if it is tried again; every other error of boto3 is one of the settings."""
ONE_PART_AT_A_TIME = TransferConfig(use_threads=False)
"""For large files: parts sent side by side would all be in memory, some 80 MB."""
ALREADY_THERE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
ELSEWHERE = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
"""What AWS says where the bucket is in another region than the one that was signed for."""
CHECKSUM = re.compile("[A-Za-z0-9+/]{43}=")
"""A SHA-256 in base64; those of the parts of an object have a number behind it."""
REDIRECTS = range(300, 400)
DENIED = {"403", "AccessDenied"}
WRONG_KEYS = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of an object: its bytes, and its SHA-256 in hexadecimal, "" where it knows none."""

    size: int
    sha256: str


class ObjectStore:
    """Reads and writes objects; safe to use from many threads.

    Args:
        settings: bucket, prefix, endpoint and keys.
        connections: connections kept open at most.
    """

    def __init__(self, settings: StorageSettings, *, connections: int = 10) -> None:
        self.settings = settings
        self._connections = connections
        self._opening = Lock()
        self._opened: Objects | None = None
        with self._translated():
            self._session = botocore.session.get_session()
            self._s3: Any = boto3.session.Session(botocore_session=self._session).client(
                "s3",
                **settings.client_options(),
                config=_config(settings, connections),
            )

    @property
    def where(self) -> str:
        """The bucket and its server, for messages."""
        return self.settings.s3_place

    def check_bucket(self) -> None:
        """Check that the bucket can be used, by listing what is under the prefix, which takes no right beyond that.

        Raises:
            BucketMissing: there is no such bucket.
            StorageError: the server does not answer, or refuses the keys.
        """
        try:
            with self._translated():
                self._objects.first_key(self.settings.s3_prefix)
        except ObjectMissing:
            raise BucketMissing(f"{self.where} {NO_BUCKET}") from None

    def ensure_bucket(self) -> None:
        """Check that the bucket can be used, making it if it is missing and the settings allow; raises as that does."""
        try:
            self.check_bucket()
        except BucketMissing:
            if not self.settings.s3_create_bucket:
                raise
            with self._translated(accept=ALREADY_THERE):
                self._s3.create_bucket(Bucket=self.settings.s3_bucket)

    def put(self, key: str, data: bytes, content_type: str, *, sha256: str = "") -> None:
        """Write ``data`` under ``key``; the store makes it visible at once or not at all.

        Who knows the SHA-256 of ``data`` already, in hexadecimal, saves the time that it takes.
        """
        with self._translated(key):
            self._objects.put(self._full(key), data, content_type, sha256)

    def put_file(
        self, key: str, file: IO[bytes], content_type: str, *, progress: Callable[[int], object] | None = None
    ) -> None:
        """Write what is in ``file`` under ``key``, in parts if it is large.

        ``progress`` is called with the number of bytes that have been sent since, and may raise to break off.
        """
        extra = {"ContentType": content_type}
        with self._translated(key):
            bucket, name = self.settings.s3_bucket, self._full(key)
            options: dict[str, Any] = {"ExtraArgs": extra, "Callback": progress, "Config": ONE_PART_AT_A_TIME}
            self._s3.upload_fileobj(file, bucket, name, **options)

    def get(self, key: str) -> bytes:
        """Return the bytes under ``key``.

        Raises:
            ObjectMissing: if there is no such object.
        """
        with self._translated(key), self._absence_told(key):
            return self._objects.get(self._full(key))

    def size(self, key: str) -> int | None:
        """Return how many bytes are under ``key``; ``None`` if there is no such object, or no bucket."""
        try:
            with self._translated(key), self._absence_told(key):
                return self._objects.size(self._full(key))
        except ObjectMissing:
            return None

    def describe(self, key: str, version: str = "") -> Stored:
        """Return what the store says of an object, or of a version of it; raises as :meth:`get`."""
        with self._translated(key), self._absence_told(key):
            told = self._s3.head_object(**self._named(key, version), ChecksumMode="ENABLED")
            return Stored(int(told["ContentLength"]), _checksum(told))

    def append(self, key: str, file: IO[bytes], version: str = "") -> None:
        """Write what an object has beyond the length of ``file`` to its end; one that breaks off has written the rest.

        From the beginning, where the store does not give parts. Raises as :meth:`get`.
        """
        start = file.seek(0, os.SEEK_END)
        with self._translated(key), self._absence_told(key):
            answer = self._s3.get_object(**self._named(key, version), **({"Range": f"bytes={start}-"} if start else {}))
            if start and "ContentRange" not in answer:
                file.truncate(file.seek(0))
            for piece in answer["Body"].iter_chunks(PIECE_BYTES):
                file.write(piece)

    def _named(self, key: str, version: str) -> dict[str, str]:
        return {
            "Bucket": self.settings.s3_bucket,
            "Key": self._full(key),
            **({"VersionId": version} if version else {}),
        }

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with ``prefix``, in order, read page by page."""
        full = self._full(prefix)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.settings.s3_bucket, Prefix=full)
        with self._translated(prefix):
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(self.settings.s3_prefix)

    def folders(self) -> list[str]:
        """Return the first parts of all keys, one for each model that has published."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.settings.s3_bucket, Prefix=self.settings.s3_prefix, Delimiter="/"
        )
        with self._translated():
            found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]
        return [name.removeprefix(self.settings.s3_prefix).rstrip("/") for name in found]

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/key``."""
        return f"s3://{self.settings.s3_bucket}/{self._full(key)}"

    def url(self, key: str) -> str:
        """Return the object's plain address on the server; reading it needs the right to, or a signature."""
        endpoint = self.settings.s3_endpoint_url or f"https://s3.{self.settings.s3_region}.amazonaws.com"
        bucket, full = self.settings.s3_bucket, self._full(key)
        if self.settings.s3_addressing == "virtual":
            scheme, _, host = endpoint.rstrip("/").partition("://")
            return f"{scheme}://{bucket}.{host}/{full}"
        return f"{endpoint.rstrip('/')}/{bucket}/{full}"

    @property
    def _objects(self) -> Objects:
        """The bucket's objects, opened when they are first needed: that takes keys."""
        if self._opened is None:
            with self._opening:
                self._opened = self._opened or self._open()
        return self._opened

    def _open(self) -> Objects:
        settings = self.settings
        given = [reveal(settings.s3_access_key_id), reveal(settings.s3_secret_access_key)]
        return open_objects(
            self._s3,
            Credentials(*given, reveal(settings.s3_session_token)) if all(given) else self._session.get_credentials(),
            settings.s3_bucket,
            ca_bundle=self._session.get_config_variable("ca_bundle"),
            timeout_s=settings.s3_timeout_s,
            connections=self._connections,
        )

    def _full(self, key: str) -> str:
        return self.settings.s3_prefix + key

    @contextmanager
    def _absence_told(self, key: str) -> Iterator[None]:
        """Say that an object is missing also where the store says that it is denied.

        AWS says the former only to who may list all of the bucket; whose right ends at the prefix has to list.
        """
        try:
            yield
        except ClientError as error:
            full = self._full(key)
            if _code(error) in DENIED and self._objects.first_key(full) != full:
                raise ObjectMissing(f"{key} is not in {self.where}") from error
            raise

    @contextmanager
    def _translated(self, key: str = "", *, accept: frozenset[str] | set[str] = frozenset()) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in accept:
                return
            raise self._refusal(code, error, key) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StorageError(f"no keys for {self.where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        except UNREACHABLE as error:
            raise StorageUnreachable(
                f"{self.where} cannot be reached ({one_line(error)}): is it running there? "
                "If it is elsewhere, correct AWS_ENDPOINT_URL_S3"
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise StorageError(f"{self.where} cannot be used: {one_line(error)}") from error

    def _refusal(self, code: str, error: ClientError, key: str) -> StorageError:
        if code in WRONG_KEYS:
            refusal = StorageDenied if code in DENIED else StorageError
            return refusal(
                f"{self.where} refused the keys ({code}): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or give them the right to it"
            )
        if code in MISSING:
            return ObjectMissing(f"{key or 'it'} is not in {self.where}")
        if code == "NoSuchBucket":
            return BucketMissing(f"{self.where} {NO_BUCKET}")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        region = str(error.response.get("Error", {}).get("Region") or "")
        if status in REDIRECTS or code in ELSEWHERE or (code == "400" and region not in ("", self.settings.s3_region)):
            found = f", it is in {region}" if region else ""
            return StorageError(
                f"{self.where} is not served there for region {self.settings.s3_region!r} ({code}{found}): "
                "correct AWS_REGION or AWS_ENDPOINT_URL_S3"
            )
        if status >= SERVER_ERROR or status in PASSING_STATUS or code in PASSING_CODES:
            return StorageUnreachable(f"{self.where} is in trouble: {one_line(error)}")
        return StorageError(f"{self.where} refused: {one_line(error)}")


def _checksum(told: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a whole object, "" where the store has none, or one of its parts."""
    text = told.get("ChecksumSHA256", "")
    return base64.b64decode(text).hex() if CHECKSUM.fullmatch(text) else ""


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _config(settings: StorageSettings, connections: int) -> Config:
    """Return the client options that every S3-compatible server takes; checksums only where they are required."""
    return Config(
        **settings.compatible(),
        request_checksum_calculation="when_required",
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=settings.s3_timeout_s,
        read_timeout=settings.s3_timeout_s,
        max_pool_connections=connections,
    )
