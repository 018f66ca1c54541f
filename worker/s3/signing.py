"""The head of a signed request: AWS Signature Version 4 over the few headers that we send.

The hash of the body is signed, so that a server refuses a body that is not the one that was sent. Tests hold every
signature to that of botocore.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

from producer import __version__
from producer.sigv4 import STAMP, RequestSigner

EMPTY_SHA256 = sha256().hexdigest()
UNSIGNED = f"accept-encoding:identity\r\nuser-agent:seedmill/{__version__}\r\n"


class Signer:
    """Makes heads of requests to one server.

    Args:
        credentials: botocore's; they are asked at every request, so that they can refresh themselves.
        region: the region that is signed for.
        host: the server as the Host header has it.
    """

    def __init__(self, credentials: Any, region: str, host: str) -> None:
        self._credentials = credentials
        self._signer = RequestSigner(region)
        self._host = host

    def head(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body_sha256: str = EMPTY_SHA256,
        content_type: str = "",
        length: int = -1,
    ) -> bytes:
        """Return request line and headers; a negative length is not sent.

        ``path`` and ``query`` are encoded already, and the parameters of the latter in the order of their names.
        """
        keys = self._credentials.get_frozen_credentials()
        if not (keys.access_key.isprintable() and (keys.token or "").isprintable()):
            raise ValueError("the access key or its token has a line break or the like in it: correct it")
        stamp = _stamp()
        headers = f"host:{self._host}\nx-amz-content-sha256:{body_sha256}\nx-amz-date:{stamp}\n"
        names = "host;x-amz-content-sha256;x-amz-date"
        if content_type:
            headers, names = f"content-type:{content_type}\n{headers}", f"content-type;{names}"
        if keys.token:
            headers, names = f"{headers}x-amz-security-token:{keys.token}\n", f"{names};x-amz-security-token"
        request = f"{method}\n{path}\n{query}\n{headers}\n{names}\n{body_sha256}"
        signature = self._signer.signature(request, stamp, keys.secret_key)
        sent = headers.replace("\n", "\r\n") + (f"content-length:{length}\r\n" if length >= 0 else "")
        target = f"{path}?{query}" if query else path
        holder = f"{keys.access_key}/{self._signer.scope(stamp)}"
        return (
            f"{method} {target} HTTP/1.1\r\n{sent}{UNSIGNED}authorization:AWS4-HMAC-SHA256 "
            f"Credential={holder}, SignedHeaders={names}, Signature={signature}\r\n\r\n"
        ).encode()


def _stamp() -> str:
    return time.strftime(STAMP, time.gmtime())
