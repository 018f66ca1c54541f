"""docs/services.md: each URL of a Redis is understood by clients and Celery, and each endpoint is where requests go."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from producer.connection import connect, connect_async
from producer.redis_url import read_sentinels
from tests.support import ROOT
from worker.app import celery_url
from worker.settings import StorageSettings
from worker.storage import ObjectStore

PAGE = (ROOT / "docs" / "services.md").read_text(encoding="utf-8")
REDIS_URLS = re.findall(r"`((?:rediss?|valkeys?|unix|sentinels?)://[^`;]+)`", PAGE.partition("## Object store")[0])
ENDPOINTS = re.findall(r"^\| ([^|]+) \| (?:`(https?://[^`]+)`)? ?\| `([^`]+)` \| ([^|]*)\|$", PAGE, re.MULTILINE)


def test_the_page_has_them_all() -> None:
    assert {urlsplit(url).scheme for url in REDIS_URLS} == {
        *("redis", "rediss", "valkey", "valkeys", "unix"),
        *("sentinel", "sentinels"),
    }
    assert len(REDIS_URLS) >= 17
    assert len(ENDPOINTS) >= 15


@pytest.mark.parametrize("url", [url for url in REDIS_URLS if "..." not in url])
def test_every_url_of_a_redis_is_understood(url: str) -> None:
    client, other = connect(url), connect_async(url)
    options = client.connection_pool.connection_kwargs
    assert other.connection_pool.connection_kwargs["db"] == options["db"] if "db" in options else True
    assert ("PASSWORD" in url) == (options.get("password") == "PASSWORD")
    assert ("seedmill:" in url or "username=seedmill" in url) == (options.get("username") == "seedmill")
    assert ("ssl_ca_certs" in url) == bool(options.get("ssl_ca_certs"))
    secure = any(scheme in url for scheme in ("rediss://", "valkeys://", "sentinels://"))
    assert secure == celery_url(url).startswith("rediss://")
    found = read_sentinels(url)
    assert (found is not None) == url.startswith("sentinel")
    client.close()


@pytest.mark.parametrize(("name", "endpoint", "region", "more"), ENDPOINTS)
def test_every_endpoint_is_where_requests_go(
    name: str, endpoint: str, region: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    for variable, value in re.findall(r"`(\w+)=(\w+)`", more):
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    keys = {"s3_access_key_id": "an-access-key", "s3_secret_access_key": "a-secret-key"}
    objects = ObjectStore(StorageSettings.load(s3_bucket="pictures", **keys))._objects
    server, path = objects._connections._server, objects._path("k")  # type: ignore[attr-defined]
    wanted = urlsplit(endpoint) if endpoint else urlsplit(f"https://{AMAZON[name]}")
    virtual = "virtual" in more
    assert server.host == (f"pictures.{wanted.hostname}" if virtual else wanted.hostname)
    assert server.port == (wanted.port or 443)
    assert (server.tls is not None) == (wanted.scheme == "https")
    assert path == ("/k" if virtual else "/pictures/k")
    assert objects._signer._signer._region == region  # type: ignore[attr-defined]


AMAZON = {
    "AWS, regional": "s3.eu-west-1.amazonaws.com",
    "AWS, dual-stack (IPv6)": "s3.dualstack.eu-west-1.amazonaws.com",
    "AWS, FIPS": "s3-fips.us-east-1.amazonaws.com",
    "AWS, gateway endpoint in a VPC": "s3.eu-west-1.amazonaws.com",
}
