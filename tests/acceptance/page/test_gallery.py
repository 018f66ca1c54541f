"""Two thousand pictures: scrolled through, sorted, searched, and told of as they come."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.acceptance.page.conftest import PUBLISHED, Visits
from tests.conftest import empty_database
from tests.integration.api import api_settings, pretend_worker
from tests.page.browser import Site
from tests.page.mill import Mill
from tests.page.pictures import caption_of
from tests.page.steps import expect_published, expect_seen, tile, tiles
from worker.local.stack import Endpoints

Fresh = Callable[[int], range]

MOST_TILES = 300
"""Tiles that may be in the document at a time."""

SCROLL = """
async ({ total, patienceMs }) => {
  const seen = new Map();
  const until = Date.now() + patienceMs;
  let most = 0;
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  while (seen.size < total && Date.now() < until) {
    const tiles = document.querySelectorAll(".tile");
    most = Math.max(most, tiles.length);
    for (const tile of tiles) seen.set(Number(tile.dataset.seed), tile.dataset.state);
    scrollBy(0, innerHeight);
    await frame();
  }
  return { seeds: [...seen.keys()], states: [...new Set(seen.values())], most };
}
"""
"""Scrolls to the end, a window at a time, and tells which tiles were there and how many at once at most."""


def scroll_through(page: Page, total: int) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(SCROLL, {"total": total, "patienceMs": 30_000})
    return found


def shown(page: Page, count: int) -> list[int]:
    """Return the seeds of the first tiles, as they stand in the document."""
    expect(tiles(page).nth(count - 1)).to_be_attached()
    return [int(one.get_attribute("data-seed") or "") for one in tiles(page).all()[:count]]


def test_the_newest_come_first_and_all_are_there_to_the_end(visit: Visits, gallery: Mill) -> None:
    page = visit(gallery.site, "#/gallery")
    assert shown(page, 5) == [1999, 1998, 1997, 1996, 1995]
    expect_published(page, 1999)
    expect(page.get_by_role("main")).to_contain_text("2,000 pictures")
    found = scroll_through(page, len(PUBLISHED))
    assert sorted(found["seeds"]) == list(PUBLISHED)
    assert found["states"] == ["published"]
    assert found["most"] < MOST_TILES
    expect_published(page, 0)


def test_in_the_order_of_the_seeds_the_smallest_comes_first(visit: Visits, gallery: Mill) -> None:
    page = visit(gallery.site, "#/gallery")
    page.get_by_role("combobox", name="Order").select_option("seed")
    expect(tile(page, 0)).to_be_visible()
    assert shown(page, 5) == [0, 1, 2, 3, 4]
    assert page.url.endswith("#/gallery?order=seed")
    page.reload()
    expect(tile(page, 0)).to_be_visible()
    assert shown(page, 5) == [0, 1, 2, 3, 4]


def test_a_search_shows_the_captions_that_have_all_its_words(visit: Visits, gallery: Mill) -> None:
    page = visit(gallery.site, "#/gallery")
    page.get_by_role("searchbox", name="Search captions").fill("TEAPOT crimson")
    wanted = [seed for seed in reversed(PUBLISHED) if "teapot" in caption_of(seed) and "crimson" in caption_of(seed)]
    expect(page.get_by_role("main")).to_contain_text(f"{len(wanted)} of 2,000 pictures")
    assert shown(page, 3) == wanted[:3]
    assert sorted(scroll_through(page, len(wanted))["seeds"]) == sorted(wanted)
    fresh = visit(gallery.site, "#/gallery?q=crimson+teapot&order=seed")
    expect(tile(fresh, wanted[-1])).to_be_visible()
    assert shown(fresh, 3) == wanted[::-1][:3]


def test_a_search_that_finds_nothing_says_so_and_shows_all_again(visit: Visits, gallery: Mill) -> None:
    page = visit(gallery.site, "#/gallery")
    page.get_by_role("searchbox", name="Search captions").fill("zebra")
    expect(page.get_by_role("heading", name=re.compile("zebra"))).to_be_visible()
    expect(tiles(page)).to_have_count(0)
    page.get_by_role("button", name="Show all").click()
    expect(tile(page, 1999)).to_be_visible()


def test_a_picture_that_is_published_meanwhile_is_shown_at_the_top_and_told_of_further_down(
    visit: Visits, gallery: Mill, seeds: Fresh
) -> None:
    (seed,) = seeds(1)
    at_top, further_down = visit(gallery.site, "#/gallery"), visit(gallery.site, "#/gallery")
    for page in (at_top, further_down):
        expect(tiles(page).first).to_be_visible()
    further_down.evaluate("scrollTo(0, 10 * innerHeight)")
    gallery.client.submit(seed).wait(30)
    further_down.get_by_role("button", name="Show 1 new picture").click()
    for page in (at_top, further_down):
        expect_published(page, seed)
        assert shown(page, 1) == [seed]


def test_an_empty_gallery_says_what_would_be_there(visit: Visits, gallery: Mill) -> None:
    empty = empty_database(gallery.endpoints, 1)
    pretend_worker(empty)
    with visit.serving(api_settings(empty)) as url:
        page = visit(Site(url, empty.s3_url), "#/gallery")
        expect(page.get_by_role("heading", name="Nothing is published yet")).to_be_visible()
        page.get_by_role("main").get_by_role("link", name="Make pictures").click()
        expect(page.get_by_role("textbox", name="Seeds")).to_be_focused()


def test_urls_that_are_out_of_date_are_signed_again(visit: Visits, gallery: Mill) -> None:
    visit.allow(r"403.*\.png")
    endpoints: Endpoints = gallery.endpoints
    with visit.serving(api_settings(endpoints, s3_url_ttl_s=4)) as url:
        page = visit(Site(url, endpoints.s3_url), "#/gallery?order=seed")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/details" in request.url else None)
        expect(tile(page, 0)).to_be_visible()
        page.wait_for_timeout(4100)  # what was signed for four seconds can be opened no more
        page.evaluate("scrollTo(0, 6 * innerHeight)")
        expect(tile(page, 0)).to_have_count(0)
        for one in tiles(page).all()[::10]:
            expect_seen(one.locator("img"))
    assert asked
