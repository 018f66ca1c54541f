"""The object store against a real S3 server."""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support import delete_object
from worker.errors import ObjectMissing, StorageError, StorageUnreachable
from worker.local.process import free_port
from worker.local.stack import Endpoints
from worker.s3.objects import SlimObjects
from worker.settings import StorageSettings
from worker.storage import ObjectStore

PART = 8 << 20


def open_store(endpoints: Endpoints, **changes: Any) -> ObjectStore:
    settings = endpoints.storage().model_dump()
    return ObjectStore(StorageSettings.load(**{**settings, "s3_create_bucket": False, **changes}))


def test_what_is_put_is_got(store: ObjectStore) -> None:
    store.put("a/b.json", b'{"x": 1}', "application/json")
    assert store.get("a/b.json") == b'{"x": 1}'
    store.put("a/b.json", b"2", "application/json")
    assert store.get("a/b.json") == b"2"
    delete_object(store, "a/b.json")
    with pytest.raises(ObjectMissing, match=r"a/b\.json"):
        store.get("a/b.json")


@pytest.mark.parametrize("key", ["a b/ü~+%41&=?#.json", "odd/'\"<>/..x", "\u4e16/\U0001f331"])
def test_any_key_can_be_written_found_and_read(endpoints: Endpoints, key: str) -> None:
    store = open_store(endpoints, s3_bucket="odd-keys", s3_create_bucket=True)
    store.ensure_bucket()
    store.put(key, b"x", "application/json")
    assert key in store.keys("")
    assert store.get(key) == b"x"


def test_the_size_of_an_object_is_told_and_that_there_is_none(store: ObjectStore) -> None:
    store.put("sized/a.png", b"x" * 55_000, "image/png")
    store.put("sized/b.png", b"", "image/png")
    assert [store.size(f"sized/{name}.png") for name in "abc"] == [55_000, 0, None]


def test_the_type_of_an_object_is_kept(store: ObjectStore) -> None:
    store.put("typed/a.png", b"x", "image/png")
    assert isinstance(store._objects, SlimObjects)
    assert store._s3.head_object(Bucket=store.settings.s3_bucket, Key="typed/a.png")["ContentType"] == "image/png"


def test_a_hash_that_is_known_is_taken(store: ObjectStore) -> None:
    store.put("hashed/a", b"data", "text/plain", sha256=sha256(b"data").hexdigest())
    assert store.get("hashed/a") == b"data"


def test_keys_are_listed_in_order_beyond_one_page(store: ObjectStore) -> None:
    keys = [f"many/{number:05d}.json" for number in range(1050)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"{}", "application/json"), keys))
    assert list(store.keys("many/")) == keys


def test_the_prefix_is_put_before_every_key(endpoints: Endpoints, store: ObjectStore) -> None:
    inside = open_store(endpoints, s3_prefix="team/one/")
    inside.put("x.json", b"1", "application/json")
    assert store.get("team/one/x.json") == b"1"
    assert list(inside.keys("")) == ["x.json"]
    assert inside.uri("x.json") == f"s3://{store.settings.s3_bucket}/team/one/x.json"
    assert inside.url("x.json") == f"{endpoints.s3_url}/{store.settings.s3_bucket}/team/one/x.json"


def test_a_missing_bucket_is_named_and_made_only_if_allowed(endpoints: Endpoints) -> None:
    with pytest.raises(StorageError, match=r"'not-there'.*SEEDMILL_S3_CREATE_BUCKET"):
        open_store(endpoints, s3_bucket="not-there").ensure_bucket()
    with pytest.raises(StorageError, match=r"'not-there' .*does not exist"):
        open_store(endpoints, s3_bucket="not-there").put("k.json", b"", "application/json")
    for _ in range(2):
        open_store(endpoints, s3_bucket="made-here", s3_create_bucket=True).ensure_bucket()
    open_store(endpoints, s3_bucket="made-here").ensure_bucket()


@pytest.mark.parametrize(
    "changes", [{"s3_secret_access_key": "wrong"}, {"s3_access_key_id": "nobody"}], ids=["secret", "key"]
)
def test_wrong_keys_are_told_as_such_and_never_shown(endpoints: Endpoints, changes: dict[str, str]) -> None:
    with pytest.raises(StorageError, match=r"refused the keys.*AWS_ACCESS_KEY_ID") as caught:
        open_store(endpoints, **changes).ensure_bucket()
    assert "wrong" not in str(caught.value)


def test_no_keys_at_all_are_told_as_such(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=r"no keys"):
        open_store(endpoints, s3_access_key_id="", s3_secret_access_key="").ensure_bucket()


def test_a_profile_that_is_not_there_is_no_outage(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StorageError, match="nobody") as caught:
        open_store(endpoints)
    assert not isinstance(caught.value, StorageUnreachable)


def test_a_server_that_is_not_there_is_named(endpoints: Endpoints) -> None:
    away = replace(endpoints, s3_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageUnreachable, match=r"cannot be reached.*AWS_ENDPOINT_URL_S3"):
        open_store(away).ensure_bucket()


def test_folders_are_the_first_parts_of_the_keys(endpoints: Endpoints) -> None:
    store = open_store(endpoints, s3_prefix="folders/")
    for key in ("a/1.png", "a/2.png", "b/1.png"):
        store.put(key, b"x", "image/png")
    assert store.folders() == ["a", "b"]


def test_the_parts_of_a_large_file_are_sent_one_after_the_other(store: ObjectStore) -> None:
    body, senders, sent = os.urandom(2 * PART + 1), set[int](), list[int]()

    def progress(size: int) -> None:
        senders.add(threading.get_ident())
        sent.append(size)

    store.put_file("storage/large", io.BytesIO(body), "application/octet-stream", progress=progress)
    assert store.get("storage/large") == body
    delete_object(store, "storage/large")
    assert sum(sent) == len(body)
    assert senders == {threading.get_ident()}, "parts sent side by side would all be in memory"
