"""Which way requests to the object store take, and that keys, certificates and proxies are those that boto3 takes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scripted import Scripted, scripted_server
from tests.torture.tls import tls_in_front_of
from worker.errors import StorageError, StorageUnreachable
from worker.local.stack import Endpoints
from worker.s3.connections import Server
from worker.s3.objects import BotoObjects, Objects, SlimObjects
from worker.settings import StorageSettings
from worker.storage import ObjectStore

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as running:
        yield running


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, no certificates and no profile of the machine's own."""
    for name in (*PROXIES, *map(str.lower, PROXIES), "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def open_store(url: str | None, **changes: Any) -> ObjectStore:
    keys = {"s3_access_key_id": "an-access-key", "s3_secret_access_key": "a-secret-key", "s3_session_token": ""}
    fixed = {"s3_bucket": "bucket", "s3_prefix": "", "s3_region": "us-east-1", "s3_timeout_s": 5.0}
    return ObjectStore(StorageSettings.load(**{**keys, **fixed, "s3_endpoint_url": url, **changes}))


def place(objects: Objects) -> tuple[Server, str]:
    assert isinstance(objects, SlimObjects)
    return objects._connections._server, objects._path("k")


@pytest.mark.parametrize(
    ("url", "region", "shown", "host", "port", "path"),
    [
        (None, "eu-west-1", "https://s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com", 443, "/bucket/k"),
        ("http://localhost:9000", "auto", "http://localhost:9000", "localhost", 9000, "/bucket/k"),
        ("http://localhost:80/s3/", "us-east-1", "http://localhost", "localhost", 80, "/s3/bucket/k"),
        ("https://[::1]:9000", "us-east-1", "https://[::1]:9000", "::1", 9000, "/bucket/k"),
        ("http://user:word@localhost", "us-east-1", "http://localhost", "localhost", 80, "/bucket/k"),
    ],
)
def test_requests_go_where_boto3_would_send_them(
    url: str | None, region: str, shown: str, host: str, port: int, path: str
) -> None:
    server, key_path = place(open_store(url, s3_region=region)._objects)
    assert (server.url, server.host, server.port, key_path) == (shown, host, port, path)
    assert (server.tls is not None) is shown.startswith("https")


def test_an_access_point_is_reached_in_its_own_region_at_its_own_host() -> None:
    store = open_store(None, s3_bucket="arn:aws:s3:us-west-2:123456789012:accesspoint/x")
    server, path = place(store._objects)
    assert (server.host, path) == ("x-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "/k")
    assert isinstance(store._objects, SlimObjects)
    assert store._objects._signer._signer._region == "us-west-2"


def test_through_a_proxy_boto3_sends_every_request(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    store = open_store("http://store.example:9000")
    store.put("a", b"data", "text/plain")
    assert isinstance(store._objects, BotoObjects)
    (request,) = server.requests
    assert request.line == "PUT http://store.example:9000/bucket/a HTTP/1.1"
    assert request.body == b"data"


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"},
        {"HTTPS_PROXY": "http://127.0.0.1:1"},
    ],
)
def test_a_proxy_that_is_not_meant_for_the_store_is_not_used(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    store = open_store(server.url)
    store.put("a", b"data", "text/plain")
    assert isinstance(store._objects, SlimObjects)
    assert server.requests[0].line == "PUT /bucket/a HTTP/1.1"


def test_a_way_of_signing_that_we_have_not_is_left_to_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store("http://localhost:9000")
    signed = "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=a%2F20260101%2Fs3%2Faws4_request"
    monkeypatch.setattr(
        store._s3, "generate_presigned_url", lambda *_, **__: f"http://localhost/key?{signed}&X-Amz-SignedHeaders=host"
    )
    assert isinstance(store._objects, BotoObjects)


def test_a_session_token_is_sent(server: Scripted) -> None:
    open_store(server.url, s3_session_token="a-token").put("a", b"", "text/plain")
    (request,) = server.requests
    assert request.headers["x-amz-security-token"] == "a-token"
    assert "x-amz-security-token" in request.headers["authorization"]


def test_keys_of_the_chain_that_run_out_are_renewed(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program, count, config = tmp_path / "keys.py", tmp_path / "count", tmp_path / "config"
    expires = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()  # soon enough to be renewed at every request
    keys = {"Version": 1, "SecretAccessKey": "secret", "SessionToken": "token", "Expiration": expires}
    program.write_text(
        f"import json, pathlib\ncount = pathlib.Path({str(count)!r})\n"
        "count.write_text(count.read_text() + 'x' if count.exists() else 'x')\n"
        f"print(json.dumps({{**{json.dumps(keys)}, 'AccessKeyId': f'key-{{len(count.read_text())}}'}}))\n"
    )
    config.write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    store = open_store(server.url, s3_access_key_id="", s3_secret_access_key="")
    for _ in range(2):
        store.put("a", b"", "text/plain")
    first, second = (request.headers["authorization"].partition("/")[0] for request in server.requests)
    assert first != second
    assert "Credential=key-" in second
    assert server.requests[1].headers["x-amz-security-token"] == "token"


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_server_whose_authority_is_named_is_trusted_and_no_other(
    endpoints: Endpoints, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    settings = store.settings
    keys = {"s3_access_key_id": endpoints.access_key, "s3_secret_access_key": endpoints.secret_key}
    with tls_in_front_of(int(endpoints.s3_url.rpartition(":")[2]), tmp_path) as (port, ca_file):
        url = f"https://127.0.0.1:{port}"
        with pytest.raises(StorageUnreachable, match="certificate"):
            open_store(url, s3_bucket=settings.s3_bucket, **keys).put("tls/a", b"data", "text/plain")
        monkeypatch.setenv(variable, str(ca_file))
        trusted = open_store(url, s3_bucket=settings.s3_bucket, **keys)
        for _ in range(2):
            trusted.put("tls/a", b"data" * 100_000, "text/plain")
        assert trusted.get("tls/a") == b"data" * 100_000
        assert isinstance(trusted._objects, SlimObjects)
        with pytest.raises(StorageUnreachable, match="certificate"):
            open_store(f"https://localhost:{port}", s3_bucket=settings.s3_bucket, **keys).size("tls/a")
        del trusted
        time.sleep(0.2)  # in which the server sees the end of its connections


def test_certificates_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(StorageError, match=r"none\.pem.*AWS_CA_BUNDLE") as caught:
        open_store("https://127.0.0.1:1").put("a", b"", "text/plain")
    assert not isinstance(caught.value, StorageUnreachable)


def test_no_server_there_is_an_outage(server: Scripted) -> None:
    with pytest.raises(StorageUnreachable, match=r"cannot be reached.*AWS_ENDPOINT_URL_S3"):
        open_store("http://127.0.0.1:1").put("a", b"", "text/plain")
