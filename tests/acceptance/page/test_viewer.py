"""One picture, large: what is told of it, its neighbours, its address, its bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
from playwright.sync_api import Locator, Page, expect

from producer.contract import image_key
from tests.acceptance.page.conftest import Visits
from tests.page.browser import Site
from tests.page.mill import Mill
from tests.page.pictures import MODEL, caption_of
from tests.page.steps import expect_published, expect_seen, job_id, tile
from tests.torture import stand_in

Fresh = Callable[[int], range]


def viewer(page: Page, seed: int) -> Locator:
    return page.get_by_role("dialog", name=f"Seed {seed}")


def open_seed(page: Page, seed: int) -> Locator:
    tile(page, seed).click()
    expect_seen(viewer(page, seed).get_by_role("img"))
    return viewer(page, seed)


def test_a_picture_opens_large_with_all_that_is_known_of_it(visit: Visits, gallery: Mill) -> None:
    dialog = open_seed(visit(gallery.site, "#/gallery"), 1999)
    sha256 = hashlib.sha256(gallery.store.get(image_key(MODEL.id, 1999))).hexdigest()
    for fact in (caption_of(1999), "1999", MODEL.id, sha256, "python -m worker verify 1999"):
        expect(dialog).to_contain_text(fact)
    expect(dialog.get_by_role("button", name="Copy command")).to_be_visible()


def test_what_a_worker_took_is_told_of_each_picture(visit: Visits, gallery: Mill, seeds: Fresh) -> None:
    (seed,) = seeds(1)
    gallery.client.submit(seed).wait(30)
    page = visit(gallery.site, f"#/seed/{seed}?model={stand_in.MODEL_ID}")
    for stage in ("in the worker", "until the device was free", "in its batch", "encoding", "storing the picture"):
        expect(viewer(page, seed)).to_contain_text(re.compile(rf"\d ms {stage}"))


def test_arrow_keys_and_buttons_go_to_the_neighbours_in_the_gallery(visit: Visits, gallery: Mill) -> None:
    page = visit(gallery.site, "#/gallery?order=seed")
    open_seed(page, 3)
    page.keyboard.press("ArrowRight")
    expect_seen(viewer(page, 4).get_by_role("img"))
    assert "#/seed/4?" in page.url
    viewer(page, 4).get_by_role("button", name="Next").click()
    expect(viewer(page, 5)).to_contain_text(caption_of(5))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    viewer(page, 3).get_by_role("button", name="Previous").click()
    expect(viewer(page, 2)).to_contain_text(caption_of(2))


def test_escape_closes_and_gives_the_focus_back_to_the_picture(visit: Visits, gallery: Mill) -> None:
    page = visit(gallery.site, "#/gallery?order=seed")
    open_seed(page, 7)
    page.keyboard.press("ArrowRight")
    expect(viewer(page, 8)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(tile(page, 8)).to_be_focused()
    expect(page).to_have_url(f"{gallery.site.url}/#/gallery?order=seed")


def test_a_copied_link_opens_the_same_picture_elsewhere(visit: Visits, gallery: Mill) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    page = visit(gallery.site, "#/gallery", permissions=permissions)
    open_seed(page, 1990).get_by_role("button", name="Copy link").click()
    expect(viewer(page, 1990).get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{gallery.site.url}/#/seed/1990?model={MODEL.id}" == page.url
    fresh = visit(gallery.site, link.removeprefix(gallery.site.url + "/"))
    expect_seen(viewer(fresh, 1990).get_by_role("img"))
    expect(viewer(fresh, 1990)).to_contain_text(caption_of(1990))


def test_a_download_is_the_very_file(visit: Visits, gallery: Mill, tmp_path: Path) -> None:
    page = visit(gallery.site, f"#/seed/42?model={MODEL.id}")
    with page.expect_download() as download:
        # A link that is pressed: its name is promised, what it is made of is not.
        viewer(page, 42).get_by_text("Download PNG").click()
    assert download.value.suggested_filename == "seed_0000000042.png"
    download.value.save_as(tmp_path / "42.png")
    assert (tmp_path / "42.png").read_bytes() == gallery.store.get(image_key(MODEL.id, 42))


def test_a_picture_that_nobody_has_made_is_offered_to_be_made(visit: Visits, gallery: Mill, seeds: Fresh) -> None:
    (seed,) = seeds(1)
    visit.allow(rf"404.*/v1/images/{seed}")
    page = visit(gallery.site, f"#/seed/{seed}")
    expect(viewer(page, seed)).to_contain_text("Not published")
    viewer(page, seed).get_by_role("button", name="Make it").click()
    expect_published(page, seed)
    assert httpx2.get(f"{gallery.site.url}/v1/jobs/{job_id(page)}").json()["seed"] == seed


def test_a_seed_is_opened_from_the_gallery_by_its_number(visit: Visits, site: Site, seeds: Fresh) -> None:
    (seed,) = seeds(1)
    httpx2.post(f"{site.url}/v1/jobs", json={"seed": seed}, headers={"Prefer": "wait=30"}, timeout=60)
    page = visit(site, "#/gallery")
    page.get_by_role("textbox", name="Open seed").fill(str(seed))
    page.keyboard.press("Enter")
    expect_seen(viewer(page, seed).get_by_role("img"))


def test_what_is_published_meanwhile_does_not_turn_the_way_to_the_next(
    visit: Visits, gallery: Mill, seeds: Callable[[int], range]
) -> None:
    (seed,) = seeds(1)
    page = visit(gallery.site, "#/gallery")
    open_seed(page, 1999)
    gallery.client.submit(seed).wait(30)
    expect(tile(page, seed)).to_be_attached()
    viewer(page, 1999).get_by_role("button", name="Copy link").click()
    page.keyboard.press("ArrowRight")
    expect(viewer(page, 1998)).to_contain_text(caption_of(1998))
    page.keyboard.press("Escape")
    expect(tile(page, 1998)).to_be_focused()
