"""All that is known of a picture, and its file: as the bucket has them, and a word where they are damaged."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from producer.api import bucket, files, published, schemas
from producer.contract import IMAGE_CONTENT_TYPE, METADATA_CONTENT_TYPE, image_key, metadata_key
from producer.gallery import PublishedPicture, add_pictures, encode_facts
from tests.integration.api import api_settings, asking, pretend_worker, run, serving
from tests.integration.gallery import Gallery
from tests.integration.test_api_jobs import problem_of
from tests.unit.fakes import MODEL, picture
from worker.encode import encode_metadata, encode_png
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

AWAY = "redis://127.0.0.1:1/0"
Change = Callable[[dict[str, Any]], Any]


def publish(store: ObjectStore, seed: int, model: str, change: Change = lambda facts: facts) -> bytes:
    """Publish a picture as a worker does, its metadata changed; returns the PNG."""
    generated = picture(seed)
    encoded = encode_png(generated, MODEL)
    facts = json.loads(encode_metadata(generated, MODEL, encoded, image_key(model, seed)))
    store.put(image_key(model, seed), encoded.png, IMAGE_CONTENT_TYPE)
    store.put(metadata_key(model, seed), json.dumps(change(facts)).encode(), METADATA_CONTENT_TYPE)
    return encoded.png


def test_details_are_those_of_the_metadata_and_of_the_gallery(quiet: Endpoints, store: ObjectStore) -> None:
    model = "pretended-details"
    png = {seed: publish(store, seed, model) for seed in (7, 8)}
    Gallery(quiet.redis_url).publish([7], model_id=model, timings={"generate_ms": 1.5})
    pretend_worker(quiet, model)

    async def main() -> None:
        async with asking(api_settings(quiet)) as api, httpx2.AsyncClient() as browser:
            (listed,) = (await api.get("/v1/images")).json()["data"]
            for seed, timings in ((7, {"generate_ms": 1.5}), (8, {})):
                answer = await api.get(f"/v1/images/{seed}/details")
                assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
                found = answer.json()
                schemas.ImageDetails.model_validate(found, strict=True)
                assert (found["seed"], found["model_id"], found["caption"]) == (seed, model, f"caption of {seed}")
                assert found["sha256"] == hashlib.sha256(png[seed]).hexdigest()
                assert (found["bytes"], found["width"], found["height"]) == (len(png[seed]), 16, 16)
                assert found["image_uri"] == f"s3://{quiet.bucket}/{image_key(model, seed)}"
                assert found["metadata_uri"] == f"s3://{quiet.bucket}/{metadata_key(model, seed)}"
                assert (await browser.get(found["image_url"])).content == png[seed]
                assert (await browser.get(found["metadata_url"])).json()["seed"] == seed
                assert found["timings"] == timings
                at = datetime.fromisoformat(found["published_at"])
                assert abs(datetime.now(UTC) - at) < timedelta(minutes=5)
                assert (found["published_at"] == listed["published_at"]) is (seed == 7)
            assert problem_of(await api.get("/v1/images/9/details")) == (404, "not-published")
            assert problem_of(await api.get("/v1/images/x/details")) == (422, "invalid-seed")
        async with asking(api_settings(replace(quiet, redis_url=AWAY))) as api:
            alone = (await api.get(f"/v1/images/7/details?model={model}")).json()
            assert (alone["caption"], alone["timings"]) == ("caption of 7", {})

    run(main)


def test_a_picture_that_was_listed_long_after_it_was_published_keeps_its_time(
    quiet: Endpoints, store: ObjectStore
) -> None:
    model = "pretended-late"
    publish(store, 7, model)
    late_us = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1e6)
    gallery = Gallery(quiet.redis_url)
    gallery.run(add_pictures([PublishedPicture(model, 7, late_us, encode_facts("listed", {}))]))

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            found = (await api.get(f"/v1/images/7/details?model={model}")).json()
            assert datetime.fromisoformat(found["published_at"]) <= datetime.now(UTC)

    run(main)


def test_the_file_is_the_png_under_its_own_name(quiet: Endpoints, store: ObjectStore) -> None:
    model = "pretended-files"
    png = publish(store, 7, model)
    with serving(api_settings(quiet)) as url, httpx2.Client(base_url=url, params={"model": model}) as api:
        found, head = api.get("/v1/images/7/file"), api.head("/v1/images/7/file")
        assert (found.status_code, found.content) == (200, png)
        assert (head.status_code, head.content) == (200, b"")
        for headers in (found.headers, head.headers):
            assert (headers["content-type"], headers["content-length"]) == ("image/png", str(len(png)))
            assert headers["content-disposition"] == 'attachment; filename="seed_0000000007.png"'
            assert headers["etag"] == f'"{hashlib.sha256(png).hexdigest()}"'
            assert (headers["cache-control"], headers["x-content-type-options"]) == ("private, max-age=3600", "nosniff")
        again = api.get("/v1/images/7/file", headers={"If-None-Match": found.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", found.headers["etag"])
        assert problem_of(api.get("/v1/images/8/file")) == (404, "not-published")


def test_what_is_damaged_is_not_published_and_a_word_says_what_is_wrong(
    quiet: Endpoints, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "pretended-damages"
    for seed in (1, 2, 3, 4):
        publish(store, seed, model)
    store.put(metadata_key(model, 1), b"{", METADATA_CONTENT_TYPE)
    store.put(image_key(model, 2), b"another", IMAGE_CONTENT_TYPE)
    publish(store, 5, model, lambda facts: {**facts, "caption": "x" * 1_000_000})
    store.put(metadata_key(model, 6), store.get(metadata_key(model, 4)).replace(b'"seed": 4', b'"seed": 6'), "")

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:

            async def asked(seed: int, what: str) -> tuple[int, str]:
                answer = await api.get(f"/v1/images/{seed}/{what}?model={model}")
                if answer.status_code == 404:
                    assert problem_of(answer) == (404, "not-published")
                    assert f"verify {seed}" in answer.json()["detail"]
                return answer.status_code, answer.json()["detail"] if answer.status_code >= 400 else ""

            for seed in (1, 5):
                for what in ("details", "file"):
                    status, detail = await asked(seed, what)
                    assert (status, "metadata cannot be read" in detail) == (404, True)
            assert (await asked(2, "details"))[0] == 200
            assert "picture is not the one" in (await asked(2, "file"))[1]
            assert "there is no picture" in (await asked(6, "file"))[1]
            monkeypatch.setattr(published, "MAX_PICTURE_BYTES", 10)
            status, detail = await asked(3, "file")
            assert (status, "more than 10 bytes" in detail) == (413, True)

    run(main)


def test_files_wait_for_a_place_and_one_that_nobody_takes_is_broken_off(
    quiet: Endpoints, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "pretended-places"
    publish(store, 7, model)
    monkeypatch.setattr(files, "MOST_FILES", 1)
    monkeypatch.setattr(files, "WAIT_S", 0.2)
    monkeypatch.setattr(files, "SEND_S", 0.5)
    path = f"/v1/images/7/file?model={model}"

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            parts = api._transport.app.state.services  # type: ignore[attr-defined]
            slow = await parts.files.answer(lambda: asyncio.sleep(0, b"x" * files.PIECE_BYTES * 4), {}, "image/png")
            refused = await api.get(path)
            assert problem_of(refused) == (429, "rate-limited")
            assert (await api.head(path)).status_code == 200, "which needs no place"

            async def takes_nothing(_: Any) -> None:
                await asyncio.sleep(60)

            await slow({"type": "http", "path": path, "asgi": {"spec_version": "2.4"}}, asyncio.sleep, takes_nothing)
            assert (await api.get(path)).status_code == 200

    run(main)


def test_an_object_that_trickles_is_given_up_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trickle:
        def read1(self, _: int) -> bytes:
            time.sleep(0.01)
            return b"x"

    class Body:
        _raw_stream = Trickle()

    monkeypatch.setattr(bucket, "READ_S", 0.1)
    with pytest.raises(TimeoutError, match="did not come within"):
        bucket._read_all(Body(), 1000)


def test_a_store_that_does_not_answer_is_told_as_such(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(replace(quiet, s3_url="http://127.0.0.1:1"))) as api:
            for what in ("details", "file"):
                answer = await api.get(f"/v1/images/7/{what}?model=any")
                assert problem_of(answer) == (503, "storage-unreachable")

    run(main)
