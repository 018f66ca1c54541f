"""URLs are signed as botocore signs them, for the public endpoint, without a word to anyone."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import botocore.auth
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from producer import presign
from producer.cli.render import result_facts, signed_by
from producer.contract import SeedStatus
from producer.errors import InvalidUri, SettingsError
from producer.message import SeedResult
from producer.presign import Presigner
from producer.settings import PresignSettings
from tests.support import one_line, run_python, run_seedmill
from worker.settings import WorkerSettings

PUBLIC = "https://pictures.example:8443"
KEYS = {"s3_access_key_id": "an-access-key", "s3_secret_access_key": "a/secret+key"}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No keys and no endpoint of the machine's own."""
    for name in ("ENDPOINT_URL_S3", "ENDPOINT_URL", "REGION", "DEFAULT_REGION", "PROFILE", "EC2_METADATA_DISABLED"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "SEEDMILL_S3_PUBLIC_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What anyone tried to connect to; nobody succeeds."""
    tried: list[Any] = []

    def refuse(_: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def presigner(**changes: Any) -> Presigner:
    return Presigner(PresignSettings.load(**{**KEYS, "s3_public_endpoint_url": PUBLIC, **changes}))


@cache
def kept_presigner(region: str, token: str | None) -> Presigner:
    return presigner(s3_region=region, s3_session_token=token)


def asked(url: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


@settings(deadline=None)  # a client takes long to make
@given(
    key=NAMES,
    token=st.sampled_from([None, "a/to+ken=="]),
    region=st.sampled_from(["us-east-1", "eu-central-1", "auto"]),
    expires_s=st.integers(1, 604800),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)),
)
def test_a_url_is_signed_as_botocore_signs_a_plain_get(
    key: str, token: str | None, region: str, expires_s: int, now: datetime
) -> None:
    credentials = Credentials(*KEYS.values(), token)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: now.replace(tzinfo=UTC))
        patch.setattr(presign, "_now", lambda: now.replace(tzinfo=UTC))
        request = AWSRequest("GET", f"{PUBLIC}/bucket/{quote(key, safe='/~')}")
        S3SigV4QueryAuth(credentials, "s3", region, expires_s).add_auth(request)
        url = kept_presigner(region, token).url(f"s3://bucket/{key}", expires_s)
    assert url.partition("?")[0] == request.url.partition("?")[0]
    assert asked(url) == asked(request.url)
    assert asked(url)["X-Amz-SignedHeaders"] == "host", "a browser sends nothing else"


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:8333/s3/", "https://[::1]:443", "https://H.Example:80"])
def test_a_plain_bucket_is_signed_without_boto3_and_just_so(
    endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs = presigner(s3_public_endpoint_url=endpoint, s3_region="us-west-2", s3_session_token="a/to+ken==")
    now = datetime.now(UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now)
    monkeypatch.setattr(presign, "_now", lambda: now)
    keys = ["k", "a b/\u00e9~!*'()+&=?#%.png", "//x/../y/./z", "a\nb", "\U0001f600"]
    theirs = [signs._sign("my.bucket", key, 77) for key in keys]
    signs.url("s3://my.bucket/first")
    monkeypatch.setattr(signs, "_sign", lambda *_: pytest.fail("boto3 is not needed"))
    assert [signs.url(f"s3://my.bucket/{key}", 77) for key in keys] == theirs


def test_keys_that_change_are_taken_as_they_are_then(monkeypatch: pytest.MonkeyPatch) -> None:
    signs = presigner()
    signs.url("s3://bucket/a")
    signs._keys.access_key, signs._keys.secret_key = "another", "other-secret"
    request = AWSRequest("GET", f"{PUBLIC}/bucket/a")
    now = datetime.now(UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now)
    monkeypatch.setattr(presign, "_now", lambda: now)
    S3SigV4QueryAuth(Credentials("another", "other-secret"), "s3", "us-east-1", 60).add_auth(request)
    assert signs.url("s3://bucket/a", 60) == request.url


def test_a_url_names_region_token_and_lifetime() -> None:
    said = asked(presigner(s3_region="eu-west-3", s3_session_token="a-token", s3_url_ttl_s=77).url("s3://bucket/a"))
    assert said["X-Amz-Credential"].startswith("an-access-key/")
    assert said["X-Amz-Credential"].endswith("/eu-west-3/s3/aws4_request")
    assert (said["X-Amz-Security-Token"], said["X-Amz-Expires"]) == ("a-token", "77")


@pytest.mark.parametrize(
    ("public", "endpoint", "region", "begins"),
    [
        ("https://cdn.example", "http://s3:8333", "us-east-1", "https://cdn.example/my.bucket/k?"),
        ("http://127.0.0.1:8333/s3/", "http://s3:8333", "us-east-1", "http://127.0.0.1:8333/s3/my.bucket/k?"),
        (None, "http://127.0.0.1:9000", "us-east-1", "http://127.0.0.1:9000/my.bucket/k?"),
        (None, None, "eu-west-1", "https://s3.eu-west-1.amazonaws.com/my.bucket/k?"),
    ],
)
def test_a_url_is_for_the_public_endpoint_else_for_that_of_the_workers_else_for_aws(
    public: str | None, endpoint: str | None, region: str, begins: str
) -> None:
    signs = presigner(s3_public_endpoint_url=public, s3_endpoint_url=endpoint, s3_region=region)
    assert signs.url("s3://my.bucket/k").startswith(begins)


def test_an_access_point_is_a_bucket_too() -> None:
    signs = presigner(s3_public_endpoint_url=None, s3_region="us-west-2")
    url = signs.url("s3://arn:aws:s3:us-west-2:123456789012:accesspoint/x/a/b.png")
    assert url.startswith("https://x-123456789012.s3-accesspoint.us-west-2.amazonaws.com/a/b.png?")


def test_nothing_is_sent_where_there_are_keys(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), KEYS.values(), strict=True):
        monkeypatch.setenv(name, value)
    Presigner().url("s3://bucket/key")
    assert calls == []
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")
    with pytest.raises(SettingsError, match=r"no keys.*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Presigner()
    assert calls, "those of an instance were asked for"


@pytest.mark.parametrize("missing", KEYS)
def test_half_a_pair_of_keys_is_told_as_such(missing: str) -> None:
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        presigner(**{missing: ""})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"s3_public_endpoint_url": "http://me:hush@h"}, r"'http://me:\*\*\*@h'.*SEEDMILL_S3_PUBLIC_ENDPOINT_URL"),
        ({"s3_public_endpoint_url": None, "s3_endpoint_url": "http://me:hush@h"}, "SEEDMILL_S3_PUBLIC_ENDPOINT_URL"),
        ({"s3_public_endpoint_url": "https://h/?a=1"}, r"URLs of https://h/\?a=1 cannot be signed"),
        ({"s3_region": "no region!"}, "no region!"),
    ],
)
def test_what_cannot_be_signed_for_is_told_when_the_presigner_is_made(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        presigner(**changes)
    assert "hush" not in str(caught.value)


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SettingsError, match="nobody"):
        presigner()


@pytest.mark.parametrize(
    "uri",
    [
        *("", "bucket/key", "http://bucket/key", "S3://bucket/key", "s3://bucket", "s3://bucket/", "s3:///key"),
        *("s3://a b/key", "s3://b\u00fccket/key", " s3://bucket/key", "s3://bucket/\ud800", None),
    ],
)
def test_what_names_no_object_is_refused_by_its_value(uri: Any) -> None:
    with pytest.raises(InvalidUri) as caught:
        presigner().url(uri)
    assert f"{uri!r} is not the URI of an object: write s3://bucket/key" in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("expires_s", [0, -1, 604801, 1.5, True, "60"])
def test_a_lifetime_that_signatures_do_not_have_is_refused(expires_s: Any) -> None:
    with pytest.raises(SettingsError, match=rf"expires_s={expires_s!r}: .*from 1 to 604800"):
        presigner().url("s3://bucket/key", expires_s)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SEEDMILL_S3_URL_TTL_S", "0"),
        ("SEEDMILL_S3_URL_TTL_S", "604801"),
        ("SEEDMILL_S3_PUBLIC_ENDPOINT_URL", "pictures.example"),
        ("AWS_ENDPOINT_URL_S3", "s3:8333"),
    ],
)
def test_a_bad_variable_is_refused_by_name_and_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        PresignSettings.load()
    assert f"{variable}={value!r}: " in str(caught.value)


def test_workers_and_presigners_read_the_same_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT_URL", "DEFAULT_REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.setenv(f"AWS_{name}", f"http://{name}")
    shared = PresignSettings.load().model_dump(exclude={"s3_public_endpoint_url", "s3_url_ttl_s"})
    assert len(shared) == 6
    assert shared.items() <= WorkerSettings.load().model_dump().items()
    assert "SECRET_ACCESS_KEY" not in repr(PresignSettings.load())


WITHOUT_BOTO3 = "import sys; sys.modules['boto3'] = None\n"


def test_without_boto3_it_is_said_how_to_install_it() -> None:
    code = (
        "import producer\ntry:\n    import producer.presign\nexcept producer.ExtraMissing as error:\n    print(error)"
    )
    done = run_python("-c", WITHOUT_BOTO3 + code)
    assert "pip install boto3" in one_line(done.stdout), done.stderr
    for arguments in (["results", "j", "--urls"], ["submit", "1", "--wait", "--urls"], ["url", "s3://bucket/key"]):
        command = f"sys.argv = ['seedmill', *{arguments}]\nfrom producer.cli import main; main()"
        done = run_python("-c", WITHOUT_BOTO3 + command)
        assert done.returncode == 2
        assert "pip install boto3" in one_line(done.stderr)


def test_a_seed_that_failed_has_no_url() -> None:
    good = SeedResult(1, SeedStatus.SUCCEEDED, image_uri="s3://bucket/key")
    bad = SeedResult.failure(2, ValueError("bad"))
    assert result_facts(good, signed_by(presigner()))["image_url"].startswith(f"{PUBLIC}/bucket/key?")
    assert result_facts(bad, signed_by(presigner()))["image_url"] is None


# seedmill url

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "an-access-key",
    "AWS_SECRET_ACCESS_KEY": "a-secret-key",
    "SEEDMILL_S3_PUBLIC_ENDPOINT_URL": PUBLIC,
}


def test_the_command_signs_a_url_for_each_uri() -> None:
    uris = ["s3://bucket/a b.png", "s3://bucket/c.png", "s3://bucket/c.png"]
    done = run_seedmill("url", *uris, "--expires", "60", environment=VARIABLES)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith(f"{PUBLIC}/bucket/a%20b.png?")
    assert second.startswith(f"{PUBLIC}/bucket/c.png?")
    assert third.startswith(f"{PUBLIC}/bucket/c.png?")
    assert "X-Amz-Expires=60" in first
    assert "a-secret-key" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        (["http://bucket/key"], {}, "'http://bucket/key' is not the URI of an object"),
        (["s3://b/k"], {"AWS_ACCESS_KEY_ID": ""}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (["s3://b/k"], {"SEEDMILL_S3_URL_TTL_S": "soon"}, "SEEDMILL_S3_URL_TTL_S='soon'"),
        (["s3://b/k", "--expires", "0"], {}, "--expires"),
        ([], {}, "URI"),
    ],
)
def test_the_command_refuses_what_it_cannot_sign_with_status_2(
    arguments: list[str], changes: dict[str, str], words: str
) -> None:
    done = run_seedmill("url", *arguments, environment={**VARIABLES, **changes})
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
