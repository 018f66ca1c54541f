"""Keys of the object store come from wherever boto3 finds them: a profile, a role, what a container or host is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.scripted import Scripted, answer, say, scripted_server
from worker.settings import StorageSettings
from worker.storage import ObjectStore

UNTIL = "2099-01-01T00:00:00Z"
ASSUMED = (
    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<AssumeRoleWithWebIdentityResult><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/mill/x</Arn>"
    "<AssumedRoleId>A:x</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>the-key</AccessKeyId>"
    f"<SecretAccessKey>secret</SecretAccessKey><SessionToken>the-token</SessionToken><Expiration>{UNTIL}</Expiration>"
    "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)
GIVEN = json.dumps(
    {
        "Code": "Success",
        "AccessKeyId": "the-key",
        "SecretAccessKey": "secret",
        "Token": "the-token",
        "Expiration": UNTIL,
    }
)


@pytest.fixture
def server() -> Iterator[Scripted]:
    """Gives out keys, and is the object store as well."""
    with scripted_server() as running:
        yield running


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Scripted) -> None:
    """No keys, no proxy and no profile of the machine's own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "ENDPOINT_URL", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)


def put(server: Scripted) -> dict[str, str]:
    """Store an object; returns the headers that the store got."""
    ObjectStore(StorageSettings.load(s3_bucket="bucket", s3_timeout_s=5.0)).put("a", b"data", "text/plain")
    request = server.requests[-1]
    assert request.line == "PUT /bucket/a HTTP/1.1"
    assert "Credential=the-key/" in request.headers["authorization"]
    assert "/eu-west-1/s3/" in request.headers["authorization"]
    return request.headers


def test_a_profile(server: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[mill]\naws_access_key_id = the-key\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "mill")
    assert "x-amz-security-token" not in put(server)


def test_the_role_of_a_service_account(server: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("of-the-service-account")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/mill")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
    server.replies.append(say(answer(200, headers="Content-Type: text/xml\r\n", body=ASSUMED.encode())))
    assert put(server)["x-amz-security-token"] == "the-token"
    assert b"WebIdentityToken=of-the-service-account" in server.requests[0].body


def test_the_address_that_a_pod_is_told(server: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("of-the-pod")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
    server.replies.append(say(answer(200, body=GIVEN.encode())))
    assert put(server)["x-amz-security-token"] == "the-token"
    assert server.requests[0].headers["authorization"] == "of-the-pod"


def test_the_role_of_an_instance(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
    for text in ("of-this-hour", "mill", GIVEN):
        server.replies.append(say(answer(200, body=text.encode())))
    assert put(server)["x-amz-security-token"] == "the-token"
    assert [request.method for request in server.requests[:3]] == ["PUT", "GET", "GET"]
    assert server.requests[2].headers["x-aws-ec2-metadata-token"] == "of-this-hour"
