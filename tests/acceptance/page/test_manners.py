"""What every view owes to everyone: keyboard, screen reader, phone, light and dark; and what it weighs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from tests.acceptance.page.conftest import Visits
from tests.page.browser import DESKTOP, PHONE, origin, serious_findings
from tests.page.mill import Mill
from tests.page.pictures import MODEL
from tests.page.steps import expect_published, expect_seen, held, jobs, tile, tiles, write

Fresh = Callable[[int], range]

MOST_BYTES = 150_000
"""What the page may weigh before the first picture."""

VIEWS = {
    "make": "#/",
    "gallery": "#/gallery",
    "search without a hit": "#/gallery?q=zebra",
    "viewer": f"#/seed/42?model={MODEL.id}",
    "not published": "#/seed/4000000000",
    "status": "#/status",
}

LOOKS: list[tuple[tuple[int, int], Literal["light", "dark"]]] = [
    (DESKTOP, "light"),
    (DESKTOP, "dark"),
    (PHONE, "dark"),
    (PHONE, "light"),
]


def has_come(page: Page, view: str) -> None:
    """Wait until a view shows what it has to show."""
    if view == "gallery":
        expect_published(page, 1990)
    elif view == "viewer":
        expect_seen(page.get_by_role("dialog").get_by_role("img"))
        expect(page.get_by_role("dialog")).to_contain_text(MODEL.id)
    elif view == "not published":
        expect(page.get_by_role("button", name="Make it")).to_be_visible()
    elif view == "search without a hit":
        expect(page.get_by_role("button", name="Show all")).to_be_visible()
    elif view == "status":
        expect(page.get_by_role("main")).to_contain_text("stand-in")
    expect(page.get_by_role("navigation")).to_be_attached()


def expect_to_fit(page: Page) -> None:
    """Wait until nothing is wider than the window."""
    page.wait_for_function("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def assert_good_manners(page: Page) -> None:
    """Look at a page, as it is, in every size and in both colours."""
    for (width, height), scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        expect_to_fit(page)
        assert not (findings := serious_findings(page)), (width, scheme, findings)


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_has_a_serious_finding_or_is_wider_than_its_window(visit: Visits, gallery: Mill, view: str) -> None:
    visit.allow(r"404.*/v1/images/4000000000")
    page = visit(gallery.site, VIEWS[view])
    has_come(page, view)
    assert_good_manners(page)


def test_a_job_has_no_serious_finding_before_and_after(visit: Visits, gallery: Mill, seeds: Fresh) -> None:
    wanted = seeds(2)
    page = visit(gallery.site)
    with held(page, "PUT"):
        write(page, f"{wanted[0]} {wanted[1]}")
        expect(tiles(page, "queued")).to_have_count(2)
        assert_good_manners(page)
    for seed in wanted:
        expect_published(page, seed)
    assert_good_manners(page)


def test_a_keyboard_is_enough_from_the_first_seed_to_the_large_picture(
    visit: Visits, gallery: Mill, seeds: Fresh
) -> None:
    (seed,) = seeds(1)
    page = visit(gallery.site)
    tab_to(page, page.get_by_role("textbox", name="Seeds"))
    page.keyboard.type(str(seed))
    page.keyboard.press("Enter")
    expect_published(page, seed)
    tab_to(page, tile(page, seed))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=f"Seed {seed}")).to_be_visible()
    page.keyboard.press("Escape")
    expect(tile(page, seed)).to_be_focused()
    tab_to(page, page.get_by_role("link", name="Gallery"), key="Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Gallery")).to_have_attribute("aria-current", "page")


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press a key until something has the focus; twenty times at most."""
    for _ in range(20):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"not within reach of the keyboard: {target}")


def test_what_is_loaded_before_the_first_picture_is_light_and_from_here(visit: Visits, gallery: Mill) -> None:
    loaded: list[Request] = []
    page = visit(gallery.site)
    page.on("requestfinished", lambda request: loaded.append(request))
    page.reload()
    page.wait_for_load_state("networkidle")
    sizes = {request.url: request.sizes()["responseBodySize"] for request in loaded}
    print("\n".join(f"{size:8,} {url}" for url, size in sizes.items()))
    assert {origin(url) for url in sizes} == {gallery.site.url}
    assert len(sizes) > 5
    assert sum(sizes.values()) < MOST_BYTES


def test_the_page_says_what_it_is_to_who_cannot_see_it(visit: Visits, gallery: Mill, seeds: Fresh) -> None:
    (seed,) = seeds(1)
    page = visit(gallery.site)
    expect(page).to_have_title(re.compile("Make"))
    expect(page.get_by_role("main").get_by_role("heading", level=1)).to_have_count(1)
    write(page, str(seed))
    expect_published(page, seed)
    expect(page.locator("#announcer")).to_contain_text("Job ended: 1 of 1 picture")
    expect(jobs(page)).to_have_count(1)
