"""AWS Signature Version 4: what a request is signed with, be it in a header or in the query of a URL.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html. The standard library alone.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

STAMP = "%Y%m%dT%H%M%SZ"
"""Form of the time that is signed."""


class RequestSigner:
    """Signs requests to S3 in one region; safe to use from many threads. The key of a day is derived once."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._derived = ("", "", b"")

    def scope(self, stamp: str) -> str:
        """Return what stands behind the access key in a request of that time."""
        return f"{stamp[:8]}/{self._region}/s3/aws4_request"

    def signature(self, request: str, stamp: str, secret: str) -> str:
        """Return the signature of a request in its canonical form, in hexadecimal digits."""
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{self.scope(stamp)}\n{sha256(request.encode()).hexdigest()}"
        return hmac.digest(self._key(secret, stamp[:8]), text.encode(), "sha256").hex()

    def _key(self, secret: str, day: str) -> bytes:
        """Return the key of a day; the last one is kept."""
        of_secret, of_day, key = self._derived
        if (of_secret, of_day) != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._derived = (secret, day, key)
        return key
