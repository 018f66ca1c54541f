"""Requests to the object store are signed and addressed as botocore does it."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from worker.s3 import signing
from worker.s3.objects import SlimObjects
from worker.s3.signing import EMPTY_SHA256, Signer

HOST = "store.example:9000"
KEYS = Credentials("an-access-key", "a/secret+key", None)
CLIENT = boto3.client(
    "s3",
    endpoint_url=f"http://{HOST}",
    region_name="us-east-1",
    aws_access_key_id="a",
    aws_secret_access_key="b",
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
TOKENS = st.none() | st.text("abcXYZ019+/=", min_size=1, max_size=40)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1))  # made aware below


def path_of(key: str) -> str:
    return SlimObjects(None, None, "/bucket/")._path(key)  # type: ignore[arg-type]


def parse(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    return first, {name: value for name, _, value in (line.partition(":") for line in lines)}


LISTING = "delimiter=%2F&list-type=2&max-keys=1&prefix=a%20b%2F%C3%BC~"


def signed_by_botocore(method: str, path: str, body: bytes, content_type: str, credentials: Any, region: str) -> str:
    headers = {"Content-Type": content_type} if content_type else {}
    request = AWSRequest(method, f"http://{HOST}{path}", headers=headers, data=body)
    S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return str(request.headers["Authorization"])


@given(
    key=NAMES,
    body=st.binary(max_size=200),
    token=TOKENS,
    secret=st.text("abcXYZ019+/", min_size=1, max_size=40),
    region=st.sampled_from(["us-east-1", "eu-central-1", "auto"]),
    request_of=st.sampled_from([("PUT", "image/png"), ("PUT", "application/json"), ("GET", ""), ("HEAD", "")]),
    query=st.sampled_from(["", LISTING]),
    now=TIMES,
)
def test_every_signature_is_that_of_botocore(
    key: str,
    body: bytes,
    token: str | None,
    secret: str,
    region: str,
    request_of: tuple[str, str],
    query: str,
    now: datetime,
) -> None:
    method, content_type = request_of
    body = body if method == "PUT" else b""
    credentials, path, aware = Credentials("an-access-key", secret, token), path_of(key), now.replace(tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: aware)
        patch.setattr(signing, "_stamp", lambda: aware.strftime("%Y%m%dT%H%M%SZ"))
        target = f"{path}?{query}" if query else path
        wanted = signed_by_botocore(method, target, body, content_type, credentials, region)
        signer = Signer(credentials, region, HOST)
        for _ in range(2):  # the second time with the key of the day that was kept
            hashed = sha256(body).hexdigest()
            head = signer.head(method, path, query=query, body_sha256=hashed, content_type=content_type)
            first, headers = parse(head)
            assert first == f"{method} {target} HTTP/1.1"
            assert headers["authorization"] == wanted
    assert headers.get("x-amz-security-token") == token


@given(key=NAMES)
def test_every_key_is_encoded_as_boto3_does(key: str) -> None:
    address = CLIENT.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": key})
    assert path_of(key) == urlsplit(address).path


def test_a_new_day_and_new_keys_are_signed_with_a_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Credentials("one", "secret one", None)
    signer = Signer(credentials, "us-east-1", HOST)
    seen = set()
    for stamp, name in [("20260101T235959Z", "one"), ("20260102T000000Z", "one"), ("20260102T000000Z", "two")]:
        credentials.access_key, credentials.secret_key = name, f"secret {name}"
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda moment=moment: moment)
        monkeypatch.setattr(signing, "_stamp", lambda stamp=stamp: stamp)
        _, headers = parse(signer.head("GET", "/bucket/key"))
        assert headers["authorization"] == signed_by_botocore("GET", "/bucket/key", b"", "", credentials, "us-east-1")
        seen.add(headers["authorization"])
    assert len(seen) == 3


def test_what_is_sent_is_a_whole_request() -> None:
    first, headers = parse(Signer(KEYS, "us-east-1", HOST).head("PUT", "/b/k", content_type="image/png", length=0))
    assert first == "PUT /b/k HTTP/1.1"
    assert headers["content-length"] == "0"
    assert headers["x-amz-content-sha256"] == EMPTY_SHA256
    assert headers["host"] == HOST
    assert headers["accept-encoding"] == "identity"
    assert "x-amz-security-token" not in headers
