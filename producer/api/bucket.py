"""The bucket as the API needs it: whether an object is there, and URLs under which users open it.

Objects are asked for with the right that the URLs need (``s3:GetObject``), in threads of its own, and no longer than a
few seconds. Without boto3, or without keys, there is no signer, and everything else works.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from producer.api.documents import Signer
from producer.api.problem import ProblemError
from producer.api.settings import ApiSettings
from producer.errors import SettingsError
from producer.redaction import one_line
from producer.settings import reveal

log = structlog.get_logger(__name__)

TIMEOUT_S = 3.0
THREADS = 8
ABSENT = {"NoSuchKey", "404", "NotFound", "InvalidRange", "416"}
DENIED = {"AccessDenied", "403"}
"""What a store says of an object that is absent to those who may not list the bucket."""

PROBE = "seedmill-probe"
"""A key that is asked for to see whether the store answers; there need be no such object."""

HOW_TO = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL_S3 unless it is AWS"


class Bucket:
    """Asks for objects; made closed, so that nothing is loaded or sent before :meth:`open`."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(THREADS, "bucket")
        self._s3: Any = None
        self.signer: Signer | None = None

    def open(self) -> None:
        """Load boto3 and find the keys, which may take a while where there are none."""
        try:
            import boto3  # of an optional extra
            from botocore.config import Config

            from producer.presign import Presigner

            self.signer = Presigner(self._settings)
        except ImportError as error:
            log.warning("boto3 is not installed, so no URL is signed", action="urls_unsigned", error=str(error))
            return
        except SettingsError as error:
            log.warning("no URL is signed", action="urls_unsigned", error=str(error))
            return
        self._s3 = boto3.session.Session().client(
            "s3",
            endpoint_url=self._settings.s3_endpoint_url,
            region_name=self._settings.s3_region,
            aws_access_key_id=reveal(self._settings.s3_access_key_id),
            aws_secret_access_key=reveal(self._settings.s3_secret_access_key),
            aws_session_token=reveal(self._settings.s3_session_token),
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                response_checksum_validation="when_required",
                retries={"total_max_attempts": 1},
                connect_timeout=TIMEOUT_S,
                read_timeout=TIMEOUT_S,
                max_pool_connections=THREADS,
            ),
        )

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/key`` of a key below the prefix."""
        return f"s3://{self._settings.s3_bucket}/{self._settings.s3_prefix}{key}"

    async def has(self, key: str) -> bool:
        """Return whether there is an object under a key.

        Raises:
            ProblemError: the store does not answer, refuses the keys, or is not configured.
        """
        if self._s3 is None:
            raise ProblemError("storage-unreachable", f"this API has no keys for the object store: {HOW_TO}")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._has, key)

    async def check(self) -> tuple[bool | None, str | None]:
        """Return whether the store answers, ``None`` where none is configured, and what is wrong."""
        if self._s3 is None:
            return None, "not configured"
        try:
            await self.has(PROBE)
        except ProblemError as error:
            return False, error.problem.detail
        return True, None

    def _has(self, key: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._s3.get_object(
                Bucket=self._settings.s3_bucket, Key=self._settings.s3_prefix + key, Range="bytes=0-0"
            )
            found["Body"].close()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in ABSENT | DENIED:
                return False
            raise self._trouble("the object store refuses", error) from None
        except (BotoCoreError, ValueError, OSError) as error:
            raise self._trouble("the object store does not answer", error) from None
        return True

    def _trouble(self, what: str, error: Exception) -> ProblemError:
        log.warning(what, action="storage_away", place=self._settings.s3_place, error=one_line(error))
        return ProblemError("storage-unreachable", f"{what} at present: try again soon")
