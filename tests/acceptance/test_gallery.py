"""The gallery of a real worker, and ``seedmill gallery rebuild``, run as a user runs it, against a real bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from producer import bucket_listing
from producer.bucket_listing import BucketListing, Listed
from producer.contract import METADATA_CONTENT_TYPE, image_key, metadata_key
from producer.errors import SettingsError
from producer.settings import BucketSettings
from tests.integration.gallery import Gallery
from tests.support import delete_object, one_line, run_python, run_seedmill
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

PREFIX = "gallery/"


@pytest.fixture
def gallery(quiet: Endpoints) -> Iterator[Gallery]:
    gallery = Gallery(quiet.redis_url)
    yield gallery
    gallery.redis.close()


@pytest.fixture
def settings(endpoints: Endpoints, store: ObjectStore) -> Iterator[BucketSettings]:
    """A part of the bucket with pictures of two models, and with objects that are none."""
    ours = ObjectStore(endpoints.storage().model_copy(update={"s3_prefix": PREFIX}))
    keys = []

    def put(key: str, data: bytes) -> None:
        ours.put(key, data, METADATA_CONTENT_TYPE)
        keys.append(key)

    for model_id, seeds in (("one", (1, 2, 3)), ("two", (2, 4_294_967_295))):
        for seed in seeds:
            put(image_key(model_id, seed), b"picture")
            put(metadata_key(model_id, seed), json.dumps({"caption": f"{model_id} paints {seed} \u2603"}).encode())
    for data in (b"torn", b"[]", b'{"caption": 7}', b"[" * 5000):
        put(metadata_key("junk", len(data)), data)
    put("one/probe", b"")
    put("jobs/job/manifest.jsonl", b"")
    put("one/seed_4294967296.json", b"{}")
    put("one/deeper/seed_0000000007.json", b"{}")
    yield ours.settings
    for key in keys:
        delete_object(ours, key)


def test_a_picture_is_in_the_gallery_when_its_job_has_ended(api: str) -> None:
    with httpx2.Client(base_url=api, timeout=60) as client:
        order = {"seeds": [700_001, 700_002], "force": True}
        job = client.post("/v1/jobs", json=order, headers={"Prefer": "wait=50"}).raise_for_status().json()
        assert job["status"] == "succeeded"
        results = client.get(f"{job['urls']['results']}").raise_for_status().json()["data"]
        found = client.get("/v1/images?limit=2").raise_for_status().json()["data"]
        same = ("seed", "model_id", "caption")
        seen, wanted = ([[one[name] for name in same] for one in some] for some in (reversed(found), results))
        assert seen == wanted
        assert found[0]["timings"]["generate_ms"] == round(results[1]["timings"]["generate_ms"], 1)
        assert job["created_at"] <= found[1]["published_at"] <= job["completed_at"]
        assert httpx2.get(found[0]["image_url"]).content.startswith(b"\x89PNG")


def rebuild(quiet: Endpoints, *options: str) -> dict[str, int]:
    environment = {**quiet.environment(), "SEEDMILL_S3_PREFIX": PREFIX}
    done = run_seedmill("gallery", "rebuild", "--json", *options, environment=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def told(gallery: Gallery) -> set[tuple[str, int, str]]:
    return {(one.model_id, one.seed, one.caption) for one in gallery.page().pictures}


def test_what_the_bucket_has_is_added_once_with_its_own_time(
    quiet: Endpoints, gallery: Gallery, settings: BucketSettings
) -> None:
    gallery.publish((3,), model_id="one", caption="made here", timings={"total_ms": 7.0})
    (known,) = gallery.page().pictures
    assert rebuild(quiet) == {"listed": 9, "added": 4, "unreadable": 4}
    everything = {("one", 1), ("one", 2), ("two", 2), ("two", 4_294_967_295)}
    assert told(gallery) == {
        ("one", 3, "made here"),
        *((model_id, seed, f"{model_id} paints {seed} \u2603") for model_id, seed in everything),
    }
    times = [one.at_us for one in gallery.page().pictures]
    assert times == sorted(set(times), reverse=True)
    assert all(abs(one.at_us - known.at_us) < 600_000_000 for one in gallery.page().pictures)
    assert next(one for one in gallery.page().pictures if one.seed == 3) == known
    assert rebuild(quiet)["added"] == 0


def test_it_is_bounded_takes_the_newest_and_one_model_where_that_is_asked_for(
    quiet: Endpoints, gallery: Gallery, settings: BucketSettings
) -> None:
    newest = BucketListing(settings).newest(100, "two")
    assert {one.seed for one in newest} == {2, 4_294_967_295}
    assert newest == sorted(newest, key=lambda one: one.rank, reverse=True)
    assert rebuild(quiet, "--model", "two", "--size", "1") == {"listed": 1, "added": 1, "unreadable": 0}
    assert [one.seed for one in gallery.page().pictures] == [newest[0].seed]
    assert rebuild(quiet, "--model", "one", "--size", "1")["added"] == 0, "it is full"
    assert rebuild(quiet, "--model", "one", "--size", "3")["added"] == 2
    assert gallery.page().total == 3


def test_a_bucket_of_many_pages_is_read_whole(settings: BucketSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = BucketListing(settings)
    paginate = listing._s3.get_paginator("list_objects_v2").paginate

    def in_twos(**options: str) -> Any:
        return paginate(PaginationConfig={"PageSize": 2}, **options)

    monkeypatch.setattr(listing._s3, "get_paginator", lambda _: SimpleNamespace(paginate=in_twos))
    assert len(listing.newest(100)) == 9
    assert len(listing.newest(3)) == 3


def test_metadata_that_has_gone_or_is_too_long_has_no_caption(
    settings: BucketSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = BucketListing(settings)
    found = listing.newest(1, "one")[0]
    assert listing.caption(found) == f"one paints {found.seed} \u2603"
    assert listing.caption(Listed("one", 99, found.modified)) is None
    monkeypatch.setattr(bucket_listing, "MAX_METADATA_BYTES", 5)
    assert listing.caption(found) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"s3_bucket": "no-such-bucket"}, "'no-such-bucket'.*refuses"),
        ({"s3_endpoint_url": "http://127.0.0.1:1"}, "cannot be read"),
    ],
)
def test_a_bucket_that_cannot_be_read_is_named(settings: BucketSettings, changes: dict[str, str], words: str) -> None:
    elsewhere = settings.model_copy(update=changes)
    with pytest.raises(SettingsError, match=words):
        BucketListing(elsewhere).newest(1)


def test_what_cannot_be_done_is_told_in_one_line(quiet: Endpoints, store: ObjectStore) -> None:
    environment = quiet.environment()
    wrong = run_seedmill("gallery", "rebuild", "--model", "a/b", environment=environment)
    assert (wrong.returncode, "model='a/b'" in one_line(wrong.stderr)) == (2, True)
    away = replace(quiet, redis_url="redis://127.0.0.1:1/0").environment()
    gone = run_seedmill("gallery", "rebuild", "--model", "none", environment=away)
    assert (gone.returncode, "does not answer" in one_line(gone.stderr)) == (3, True)
    code = "import sys; sys.modules['boto3'] = None; from producer.cli import main; main()"
    bare = run_python("-c", code, "gallery", "rebuild", environment=environment)
    assert (bare.returncode, "pip install boto3" in one_line(bare.stderr)) == (2, True)
