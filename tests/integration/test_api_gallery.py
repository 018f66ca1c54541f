"""``GET /v1/images``: the gallery over HTTP, by pages in both orders, with words looked for, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from producer.api import pictures
from producer.api.pictures import MAX_GALLERIES, Pictures
from producer.contract import IMAGE_CONTENT_TYPE, METADATA_CONTENT_TYPE, PICTURES_KEY, image_key, metadata_key
from producer.keys import KeyStore, Scope, make_key
from tests.integration.api import api_settings, asking, run
from tests.integration.gallery import MODEL, Gallery
from worker.local.stack import Endpoints
from worker.storage import ObjectStore


@pytest.fixture
def gallery(quiet: Endpoints) -> Iterator[Gallery]:
    gallery = Gallery(quiet.redis_url)
    yield gallery
    gallery.redis.close()


def key_of(quiet: Endpoints, name: str, *scopes: Scope) -> dict[str, str]:
    """Make a key and return the header that shows it."""
    text, key = make_key(name, scopes=scopes, tenant=name, rate=0)
    with KeyStore(quiet.redis_url) as keys:
        keys.add(key)
    return {"Authorization": f"Bearer {text}"}


async def read(api: httpx2.AsyncClient, **options: Any) -> list[int]:
    """Return the seeds of all pages."""
    found: list[int] = []
    while True:
        page = (await api.get("/v1/images", params=options)).raise_for_status().json()
        found += [one["seed"] for one in page["data"]]
        assert page["has_more"] == (page["next"] is not None)
        if not page["has_more"]:
            return found
        options["after"] = page["next"]


def problem_of(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def test_a_picture_is_told_with_addresses_that_open(quiet: Endpoints, gallery: Gallery, store: ObjectStore) -> None:
    model = "pretended-gallery"
    store.put(image_key(model, 7), b"picture", IMAGE_CONTENT_TYPE)
    store.put(metadata_key(model, 7), b"{}", METADATA_CONTENT_TYPE)
    gallery.publish((7,), model_id=model, caption="a fox", timings={"total_ms": 12.34})

    async def main() -> None:
        async with asking(api_settings(quiet)) as api, httpx2.AsyncClient() as browser:
            answer = await api.get("/v1/images")
            assert answer.headers["cache-control"] == "no-store"
            page = answer.json()
            (one,) = page.pop("data")
            assert page == {"has_more": False, "next": None, "total": 1}
            assert (await browser.get(one.pop("image_url"))).content == b"picture"
            assert (await browser.get(one.pop("metadata_url"))).json() == {}
            at = gallery.page().pictures[0].published_at.isoformat(timespec="milliseconds")
            told = {"seed": 7, "model_id": model, "caption": "a fox", "timings": {"total_ms": 12.3}, "published_at": at}
            assert one == told

    run(main)


def test_pages_of_any_size_have_every_picture_once_in_either_order(quiet: Endpoints, gallery: Gallery) -> None:
    for first in (50, 10, 30):
        gallery.publish(range(first, first + 9))
    gallery.publish((33,), model_id="another-model")
    newest = [33, *range(38, 29, -1), *range(18, 9, -1), *range(58, 49, -1)]

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for limit in (1, 3, 7, 28, 1000):
                assert await read(api, limit=limit) == newest
                assert await read(api, limit=limit, order="seed") == sorted(newest)
            page = (await api.get("/v1/images?order=seed&limit=28")).json()
            assert (len(page["data"]), page["next"], page["total"]) == (28, None, 28)
            models = [one["model_id"] for one in page["data"] if one["seed"] == 33]
            assert models == ["another-model", MODEL]

    run(main)


def test_pages_go_on_where_they_were_while_others_are_published(quiet: Endpoints, gallery: Gallery) -> None:
    gallery.publish(range(100, 120))

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            first = {order: (await api.get(f"/v1/images?limit=5&order={order}")).json() for order in ("newest", "seed")}
            gallery.publish((1, 103, 500))
            for order, page in first.items():
                seeds = [one["seed"] for one in page["data"]]
                seeds += await read(api, limit=4, order=order, after=page["next"])
                seen = [seed for seed in seeds if 100 <= seed < 120]
                assert sorted(seen) == list(range(100, 120)), order
                assert len(set(seeds)) == len(seeds), order

    run(main)


def test_words_are_found_in_captions_whatever_their_case_and_order(quiet: Endpoints, gallery: Gallery) -> None:
    gallery.publish((1,), caption="Ein Fuchs auf der STRAßE, Émile 狐")
    gallery.publish((2,), caption="a red fox\nunder the moon")
    gallery.publish((3,), caption="a red hen", model_id="another-model")

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for q, seeds in (
                ("strasse", [1]),
                ("ÉMILE fuchs", [1]),
                ("狐", [1]),
                ("red", [3, 2]),
                ("RED  moon fox", [2]),
                ("red fuchs", []),
                ("\x00", []),
                (" \t", [3, 2, 1]),
                ("x" * 200, []),
            ):
                for limit in (1, 100):
                    assert await read(api, q=q, limit=limit) == seeds, q
                    assert await read(api, q=q, limit=limit, order="seed") == sorted(seeds), q
            assert await read(api, q="red", model=MODEL) == [2]
            assert await read(api, model="another-model", order="seed", limit=1) == [3]
            assert await read(api, model="none") == []
            assert (await api.get("/v1/images?q=fuchs")).json()["total"] == 3

    run(main)


@pytest.mark.parametrize("order", ["newest", "seed"])
def test_a_request_looks_at_so_many_captions_and_the_next_goes_on(
    quiet: Endpoints, gallery: Gallery, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr(pictures, "SCAN_PAGE", 10)
    monkeypatch.setattr(pictures, "SCAN_PICTURES", 20)
    gallery.publish(range(90))
    gallery.publish((90, 91), caption="rare")
    gallery.publish(range(200, 290))

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            page = (await api.get("/v1/images", params={"q": "rare", "order": order})).json()
            assert (page["data"], page["has_more"], page["total"]) == ([], True, 182)
            assert sorted(await read(api, q="rare", order=order)) == [90, 91]
            assert len(await read(api, q="caption", order=order, limit=7)) == 180

    run(main)


@pytest.mark.parametrize("order", ["newest", "seed"])
def test_pictures_of_which_nothing_is_told_any_more_leave_no_gap(
    quiet: Endpoints, gallery: Gallery, order: str
) -> None:
    gallery.publish(range(40))
    gallery.redis.hdel(PICTURES_KEY, *(f"{MODEL}:{seed}" for seed in range(5, 35)))

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            page = (await api.get("/v1/images", params={"limit": 8, "order": order})).json()
            assert (len(page["data"]), page["total"]) == (8, 10)
            rest = await read(api, limit=8, order=order, after=page["next"])
            assert sorted([*(one["seed"] for one in page["data"]), *rest]) == [*range(5), *range(35, 40)]

    run(main)


def test_each_sees_the_pictures_of_its_tenant_and_admins_all(quiet: Endpoints, gallery: Gallery) -> None:
    gallery.publish((1, 2), tenant="one")
    gallery.publish((2, 3), tenant="two")
    one, two, none = (key_of(quiet, name, Scope.READ) for name in ("one", "two", "none"))
    admin, submit = key_of(quiet, "admin", Scope.ADMIN), key_of(quiet, "submit", Scope.SUBMIT)

    async def main() -> None:
        async with asking(api_settings(quiet, api_auth="required")) as api:

            async def seeds(key: dict[str, str], order: str) -> list[int]:
                page = (await api.get("/v1/images", params={"order": order}, headers=key)).json()
                assert page["total"] == len(page["data"])
                return sorted(picture["seed"] for picture in page["data"])

            for order in ("newest", "seed"):
                wanted = [(one, [1, 2]), (two, [2, 3]), (none, []), (admin, [1, 2, 3])]
                assert [await seeds(key, order) for key, _ in wanted] == [found for _, found in wanted]
            assert problem_of(await api.get("/v1/images", headers=submit)) == (403, "forbidden")
            assert problem_of(await api.get("/v1/images")) == (401, "unauthorized")

    run(main)


def test_what_cannot_be_meant_is_refused_by_name(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for query, problem in (
                ("after=x", "invalid-setting"),
                ("after=", "invalid-setting"),
                ("after=7:model", "invalid-setting"),
                ("order=seed&after=1700000000000000", "invalid-setting"),
                ("order=oldest", "invalid-request"),
                ("limit=0", "invalid-request"),
                ("limit=1001", "invalid-request"),
                ("model=a/b", "invalid-request"),
                ("q=" + "x" * 201, "invalid-request"),
                ("query=fox", "invalid-request"),
            ):
                answer = await api.get(f"/v1/images?{query}")
                assert problem_of(answer) == (422, problem), query
                assert query.split("&")[-1].split("=")[0] in answer.json()["detail"]

    run(main)


def test_without_keys_for_the_store_pictures_have_no_addresses(
    quiet: Endpoints, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    gallery.publish(range(30))

    async def main() -> None:
        async with asking(api_settings(quiet, s3_access_key_id="", s3_secret_access_key="")) as api:
            data = (await api.get("/v1/images")).json()["data"]
            assert {(one["image_url"], one["metadata_url"]) for one in data} == {(None, None)}
            assert len(data) == 30

    run(main)


def test_the_order_of_few_galleries_is_remembered(quiet: Endpoints, gallery: Gallery) -> None:
    names = [f"tenant-{number}" for number in range(MAX_GALLERIES + 5)]
    keys = {name: key_of(quiet, name, Scope.READ) for name in names}
    gallery.publish((1,), tenant=names[0])

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for name in (*names, names[0]):
                page = (await api.get("/v1/images?order=seed", headers=keys[name])).json()
                assert page["total"] == (name == names[0])
            reader: Pictures = api._transport.app.state.services.pictures  # type: ignore[attr-defined]
            assert len(reader._sorted) == MAX_GALLERIES

    run(main)


def test_when_a_picture_was_published_and_how_long_it_took_is_known(quiet: Endpoints, gallery: Gallery) -> None:
    gallery.publish((7,), timings={"total_ms": 1.5})

    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            reader: Pictures = api._transport.app.state.services.pictures  # type: ignore[attr-defined]
            assert await reader.fact(MODEL, 7) == (gallery.page().pictures[0].published_at, {"total_ms": 1.5})
            assert await reader.fact(MODEL, 8) is None
            assert await reader.fact("other", 7) is None

    run(main)
