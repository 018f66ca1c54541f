"""Presigned URLs against a real S3 server, opened as a browser opens them: with nothing but the address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from producer.presign import Presigner
from producer.settings import PresignSettings
from tests.torture.bench import wait_until
from tests.torture.tls import second_address_of
from worker.local.stack import Endpoints
from worker.settings import StorageSettings
from worker.storage import ObjectStore

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 200


@pytest.fixture
def public(endpoints: Endpoints) -> Iterator[str]:
    """A second address of the S3 server."""
    with second_address_of(int(endpoints.s3_url.rpartition(":")[2])) as url:
        yield url


def presigner(endpoints: Endpoints, **changes: Any) -> Presigner:
    known = endpoints.storage().model_dump(include=set(PresignSettings.model_fields))
    return Presigner(PresignSettings.load(**{**known, "s3_public_endpoint_url": "", **changes}))


def read(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def refusal(url: str) -> str:
    with pytest.raises(HTTPError) as caught:
        urlopen(url, timeout=10)
    with caught.value as answer:
        return f"{answer.code} {answer.read().decode()}"


def test_a_url_opens_and_gives_the_bytes_of_the_picture(endpoints: Endpoints, store: ObjectStore) -> None:
    store.put("shown/a.png", PICTURE, "image/png")
    with urlopen(presigner(endpoints).url(store.uri("shown/a.png"))) as answer:
        assert answer.read() == PICTURE
        assert answer.headers["content-type"] == "image/png"


def test_a_url_that_has_expired_opens_no_more(endpoints: Endpoints, store: ObjectStore) -> None:
    store.put("shown/b.png", PICTURE, "image/png")
    url = presigner(endpoints).url(store.uri("shown/b.png"), expires_s=2)
    assert read(url) == PICTURE

    def has_expired() -> bool:
        try:
            read(url)
        except HTTPError as error:
            with error:
                return "AccessDenied" in error.read().decode()
        return False

    wait_until(has_expired, "the end of the URL", 20)


def test_a_url_opens_at_the_public_endpoint_that_it_is_signed_for_and_nowhere_else(
    endpoints: Endpoints, store: ObjectStore, public: str
) -> None:
    store.put("shown/c.png", PICTURE, "image/png")
    uri = store.uri("shown/c.png")
    url = presigner(endpoints, s3_public_endpoint_url=public).url(uri)
    assert url.startswith(f"{public}/")
    assert read(url) == PICTURE
    assert "403" in refusal(url.replace(public, endpoints.s3_url))
    inside = presigner(endpoints).url(uri)
    assert read(inside) == PICTURE
    assert "SignatureDoesNotMatch" in refusal(inside.replace(endpoints.s3_url, public)), "which is why it is signed so"


@pytest.mark.parametrize("prefix", ["my team+1/", "\u00fcber/\u4e16 \U0001f331/", "a%20b/c&d=e?f#g~h/", "'\"(x)!*/"])
def test_any_prefix_can_be_opened_that_a_worker_can_write_under(
    endpoints: Endpoints, store: ObjectStore, public: str, prefix: str
) -> None:
    settings = StorageSettings.load(**{**endpoints.storage().model_dump(), "s3_prefix": prefix})
    inside = ObjectStore(settings)
    inside.put("demo-0/seed_0000000001.png", PICTURE + prefix.encode(), "image/png")
    inside.check_bucket()
    assert inside._objects.first_key(f"{prefix}demo-0/seed_0000000001.png") == f"{prefix}demo-0/seed_0000000001.png"
    url = presigner(endpoints, s3_public_endpoint_url=public).url(inside.uri("demo-0/seed_0000000001.png"))
    assert url.isascii()
    assert read(url) == PICTURE + prefix.encode()


def test_region_and_session_token_are_signed_for(endpoints: Endpoints, store: ObjectStore) -> None:
    store.put("shown/d.png", PICTURE, "image/png")
    url = presigner(endpoints, s3_region="eu-central-1", s3_session_token="a-token").url(store.uri("shown/d.png"))
    assert read(url) == PICTURE
    for said, otherwise in (("a-token", "b-token"), ("eu-central-1", "eu-central-2"), ("d.png", "c.png")):
        assert "SignatureDoesNotMatch" in refusal(url.replace(said, otherwise))


def test_wrong_keys_are_told_by_the_store_when_the_url_is_opened(endpoints: Endpoints, store: ObjectStore) -> None:
    wrong = presigner(replace(endpoints, secret_key="wrong"))
    assert "SignatureDoesNotMatch" in refusal(wrong.url(store.uri("shown/a.png")))
