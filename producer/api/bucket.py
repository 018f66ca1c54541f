"""The bucket as the API needs it: whether an object is there, what is in it, and URLs under which users open it.

Objects are asked for with the right that the URLs need (``s3:GetObject``), in threads of its own, those that are read
for files in others, and no longer than :data:`READ_S`. Without boto3, or without keys, there is no signer, and
everything else works.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog

from producer.api.documents import Signer
from producer.api.problem import ProblemError
from producer.api.settings import ApiSettings
from producer.errors import InvalidUri, SettingsError
from producer.redaction import one_line

log = structlog.get_logger(__name__)

T = TypeVar("T")

TIMEOUT_S = 3.0
READ_S = 10.0
"""Seconds in which the whole of an object has to come."""

THREADS = 8
FILE_THREADS = 4
PIECE_BYTES = 256 * 1024
ABSENT = {"NoSuchKey", "404", "NotFound", "InvalidRange", "416"}
DENIED = {"AccessDenied", "403"}
"""What a store says of an object that is absent to those who may not list the bucket."""

PROBE = "seedmill-probe"
"""A key that is asked for to see whether the store answers; there need be no such object."""

HOW_TO = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL_S3 unless it is AWS"

ORIGIN = re.compile(r"https?://(?:\*|[A-Za-z0-9._-]+)(?::[0-9]+)?")
IPV6 = re.compile(r"//\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was read: its bytes, ``None`` if they are too many, their SHA-256, and when it was written."""

    content: bytes | None
    sha256: str
    modified: datetime


class Bucket:
    """Asks for objects; made closed, so that nothing is loaded or sent before :meth:`open`."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(THREADS, "bucket")
        self._file_threads = ThreadPoolExecutor(FILE_THREADS, "bucket-file")
        self._s3: Any = None
        self.signer: Signer | None = None
        self.origin = ""
        """Scheme, host and port of the URLs that are signed; "" without a signer."""

    def open(self) -> None:
        """Load boto3 and find the keys, which may take a while where there are none."""
        try:
            import boto3  # of an optional extra
            from botocore.config import Config

            from producer.presign import Presigner

            signer = Presigner(self._settings)
            self.origin = origin_of(signer.url(self.uri(PROBE)))
            self.signer = signer
        except ImportError as error:
            log.warning("boto3 is not installed, so no URL is signed", action="urls_unsigned", error=str(error))
            return
        except (SettingsError, InvalidUri) as error:
            log.warning("no URL is signed", action="urls_unsigned", error=str(error))
            return
        self._s3 = boto3.session.Session().client(
            "s3",
            **self._settings.client_options(),
            config=Config(
                **self._settings.compatible(),
                retries={"total_max_attempts": 1},
                connect_timeout=TIMEOUT_S,
                read_timeout=TIMEOUT_S,
                max_pool_connections=THREADS + FILE_THREADS,
            ),
        )

    def close(self) -> None:
        """Let go of the threads."""
        for threads in (self._threads, self._file_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/key`` of a key below the prefix."""
        return f"s3://{self._settings.s3_bucket}/{self._settings.s3_prefix}{key}"

    async def has(self, key: str) -> bool:
        """Return whether there is an object under a key.

        Raises:
            ProblemError: the store does not answer, refuses the keys, or is not configured.
        """
        return await self._in_thread(self._has, key)

    async def read(self, key: str, most_bytes: int, *, is_file: bool = False) -> StoredObject | None:
        """Return the object under a key, without its bytes if it has more than so many; ``None`` if there is none.

        Files are read in threads of their own, so that whoever only looks need not wait for them.

        Raises:
            ProblemError: as :meth:`has`.
        """
        threads = self._file_threads if is_file else self._threads
        return await self._in_thread(self._read, key, most_bytes, threads=threads)

    async def check(self) -> tuple[bool | None, str | None]:
        """Return whether the store answers, ``None`` where none is configured, and what is wrong."""
        if self._s3 is None:
            return None, "not configured"
        try:
            await self.has(PROBE)
        except ProblemError as error:
            return False, error.problem.detail
        return True, None

    async def _in_thread(self, ask: Callable[..., T], *arguments: Any, threads: ThreadPoolExecutor | None = None) -> T:
        if self._s3 is None:
            raise ProblemError("storage-unreachable", f"this API has no keys for the object store: {HOW_TO}")
        return await asyncio.get_running_loop().run_in_executor(threads or self._threads, ask, *arguments)

    def _has(self, key: str) -> bool:
        with self._translated():
            if (found := self._get(key, Range="bytes=0-0")) is not None:
                found["Body"].close()
            return found is not None

    def _read(self, key: str, most_bytes: int) -> StoredObject | None:
        with self._translated():
            if (found := self._get(key)) is None:
                return None
            with closing(found["Body"]) as body:
                content = _read_all(body, found["ContentLength"]) if found["ContentLength"] <= most_bytes else None
        return StoredObject(content, hashlib.sha256(content or b"").hexdigest(), found["LastModified"])

    def _get(self, key: str, **options: str) -> Any:
        """Return what boto3 answers; ``None`` if there is no such object."""
        from botocore.exceptions import ClientError

        place = {"Bucket": self._settings.s3_bucket, "Key": self._settings.s3_prefix + key}
        try:
            return self._s3.get_object(**place, **options)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ABSENT | DENIED:
                return None
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise self._trouble("the object store refuses", error) from None
        except (BotoCoreError, ValueError, OSError) as error:
            raise self._trouble("the object store does not answer", error) from None

    def _trouble(self, what: str, error: Exception) -> ProblemError:
        log.warning(what, action="storage_away", place=self._settings.s3_place, error=one_line(error))
        return ProblemError("storage-unreachable", f"{what} at present: try again soon")


def _read_all(body: Any, length: int) -> bytes:
    """Read a body of so many bytes.

    Raises:
        OSError: it does not come whole, or not in time.
    """
    began, content = time.monotonic(), bytearray()
    while piece := body._raw_stream.read1(PIECE_BYTES):  # what is there; its own read waits until there is enough
        content += piece
        if time.monotonic() - began > READ_S:
            raise TimeoutError(f"an object did not come within {READ_S:g} s")
    if len(content) != length:
        raise OSError(f"an object of {length} bytes broke off after {len(content)}")
    return bytes(content)


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, as a policy can name them; "" if they have characters that no host has.

    No policy can name an IPv6 address: any host with that port stands for it.
    """
    url = IPV6.sub("//*", url, count=1)
    found = ORIGIN.match(url)
    return found[0] if found and url[found.end() :][:1] in ("", "/", "?") else ""
