"""Objects of one bucket, written and read over the cheap way, or over boto3 where that is the only one.

boto3 is asked once, by way of a presigned address, where it would send a request and how it would sign it. Through a
proxy, or with a way of signing other than the usual one, boto3 sends every request itself.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from botocore.exceptions import ClientError, NoCredentialsError
from botocore.httpsession import create_urllib3_context, get_cert_path
from botocore.utils import get_environ_proxies

from worker.s3.connections import Answer, Connections, Server
from worker.s3.retries import Retries, element
from worker.s3.signing import Signer

MISSING = {"404", "NoSuchKey", "NotFound"}
MUTE = {"400", "403"}
"""What a HEAD is refused with for many reasons; it has no text that says which."""
PORTS = {"http": 80, "https": 443}
PROBE = "key"
USUAL = {"Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token"}
"""What a presigned address says, if boto3 signs in the usual way."""


class Objects(Protocol):
    """Objects under keys; errors are those of botocore. Safe to use from many threads."""

    def put(self, key: str, data: bytes, content_type: str, data_sha256: str = "") -> None:
        """Write ``data``; who has its hash already, in hexadecimal, saves the time that it takes."""

    def get(self, key: str) -> bytes:
        """Return the bytes under ``key``."""

    def size(self, key: str) -> int | None:
        """Return how many bytes are under ``key``; ``None`` if there is no such object."""

    def first_key(self, prefix: str) -> str | None:
        """Return the first key in the folder of ``prefix`` that begins with it; ``None`` if there is none."""


class SlimObjects:
    """Objects over requests of our own.

    Args:
        signer: signs them.
        connections: to the server.
        folder: path of the bucket there, with a slash at its end.
    """

    def __init__(self, signer: Signer, connections: Connections, folder: str) -> None:
        self._signer = signer
        self._connections = connections
        self._folder = folder
        self._retries = Retries()

    def put(self, key: str, data: bytes, content_type: str, data_sha256: str = "") -> None:
        """As :meth:`Objects.put`."""
        path, hashed = self._path(key), data_sha256 or sha256(data).hexdigest()

        def send() -> Answer:
            head = self._signer.head("PUT", path, body_sha256=hashed, content_type=content_type, length=len(data))
            return self._connections.exchange(head, data)

        self._retries.send("PutObject", send)

    def get(self, key: str) -> bytes:
        """As :meth:`Objects.get`."""
        path = self._path(key)
        return self._retries.send("GetObject", lambda: self._connections.exchange(self._signer.head("GET", path))).body

    def size(self, key: str) -> int | None:
        """As :meth:`Objects.size`; where HEAD does not say it, the object is read."""
        try:
            answer = self._head(self._path(key))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in MISSING:
                return None
            if code not in MUTE:
                raise
            return len(self.get(key))  # or raises what says why
        length = answer.headers.get("content-length", "")
        return int(length) if length.isdecimal() else len(self.get(key))

    def first_key(self, prefix: str) -> str | None:
        """As :meth:`Objects.first_key`."""
        path = self._folder.rstrip("/") or "/"
        query = f"delimiter=%2F&list-type=2&max-keys=1&prefix={quote(prefix, safe='~')}"

        def send() -> Answer:
            return self._connections.exchange(self._signer.head("GET", path, query=query))

        return element("Key", self._retries.send("ListObjectsV2", send)) or None

    def _head(self, path: str) -> Answer:
        def send() -> Answer:
            return self._connections.exchange(self._signer.head("HEAD", path), expects_body=False)

        return self._retries.send("HeadObject", send)

    def _path(self, key: str) -> str:
        return self._folder + quote(key, safe="/~")


class BotoObjects:
    """Objects over boto3's own client."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, data: bytes, content_type: str, data_sha256: str = "") -> None:  # noqa: ARG002  # not asked
        """As :meth:`Objects.put`."""
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type)

    def get(self, key: str) -> bytes:
        """As :meth:`Objects.get`."""
        return bytes(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())

    def size(self, key: str) -> int | None:
        """As :meth:`Objects.size`."""
        try:
            return int(self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
        except ClientError as error:
            if str(error.response["Error"]["Code"]) not in MISSING:
                raise
            return None

    def first_key(self, prefix: str) -> str | None:
        """As :meth:`Objects.first_key`."""
        page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, Delimiter="/", MaxKeys=1)
        return next((str(entry["Key"]) for entry in page.get("Contents", ())), None)


def open_objects(
    client: Any, credentials: Any, bucket: str, *, ca_bundle: str | None, timeout_s: float, connections: int
) -> Objects:
    """Return the objects of a bucket, over the cheap way if there is one; sends nothing.

    Args:
        client: boto3's.
        credentials: botocore's, those of the client; may be ``None``.
        bucket: the bucket.
        ca_bundle: file of the authorities to trust, if boto3's settings name one.
        timeout_s: seconds to wait for a connection, and for each answer.
        connections: connections that are open at most.

    Raises:
        BotoCoreError, ValueError: there are no keys, or the settings are wrong.
    """
    if credentials is None:
        raise NoCredentialsError
    address = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": PROBE})
    url, said = urlsplit(address), dict(parse_qsl(urlsplit(address).query))
    if not _signs_as_usual(said) or get_environ_proxies(address).get(url.scheme):
        return BotoObjects(client, bucket)
    server, host = _server(url, ca_bundle, timeout_s)
    region = said["X-Amz-Credential"].split("/")[-3]
    return SlimObjects(
        Signer(credentials, region, host), Connections(server, connections), url.path.removesuffix(PROBE)
    )


def _signs_as_usual(said: dict[str, str]) -> bool:
    return (
        said.keys() <= {f"X-Amz-{name}" for name in USUAL}
        and said.get("X-Amz-Algorithm") == "AWS4-HMAC-SHA256"
        and said.get("X-Amz-SignedHeaders") == "host"
        and said.get("X-Amz-Credential", "").endswith("/s3/aws4_request")
    )


def _server(url: SplitResult, ca_bundle: str | None, timeout_s: float) -> tuple[Server, str]:
    """Return the server of an address, and how the Host header names it."""
    name = url.hostname or ""
    shown = f"[{name}]" if ":" in name else name
    usual = PORTS[url.scheme]
    host = shown if url.port in (None, usual) else f"{shown}:{url.port}"
    tls = _tls(ca_bundle) if url.scheme == "https" else None
    return Server(f"{url.scheme}://{host}", name, url.port or usual, timeout_s, tls), host


def _tls(ca_bundle: str | None) -> Any:
    """Return what boto3 trusts: the bundle that its settings or REQUESTS_CA_BUNDLE name, else the usual authorities."""
    file = get_cert_path(ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or True)
    context = create_urllib3_context()
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:
        raise ValueError(f"the certificates in {file} cannot be read ({error}): correct AWS_CA_BUNDLE") from error
    context.check_hostname = True
    return context
