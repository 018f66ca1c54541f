"""What visitors of the page do and see, by the names that things have for everyone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, Route, expect


def write(page: Page, seeds: str) -> None:
    """Write seeds into the field and press the button."""
    page.get_by_role("textbox", name="Seeds").fill(seeds)
    page.get_by_role("button", name="Make pictures").click()


@contextmanager
def held(page: Page, method: str) -> Iterator[None]:
    """Keep requests of that method from the API, inside."""
    kept: list[Route] = []
    page.route("**/*", lambda route: kept.append(route) if route.request.method == method else route.fallback())
    yield
    for route in kept:
        route.continue_()
    page.unroute("**/*")


def jobs(page: Page) -> Locator:
    """Return the jobs that are shown."""
    return page.get_by_role("region", name=re.compile("^Job "))


def job_id(page: Page) -> str:
    """Return the id of the one job that is shown."""
    expect(jobs(page)).to_have_count(1)
    return (jobs(page).get_attribute("aria-label") or "").removeprefix("Job ")


def tile(page: Page, seed: int) -> Locator:
    """Return the tile of a seed."""
    return page.locator(f'.tile[data-seed="{seed}"]')


def tiles(page: Page, state: str = "") -> Locator:
    """Return all tiles that are in the document, or those in a state."""
    return page.locator(f'.tile[data-state="{state}"]' if state else ".tile")


def expect_published(page: Page, seed: int) -> None:
    """Wait until the picture of a seed is seen."""
    expect(tile(page, seed)).to_have_attribute("data-state", "published")
    expect(tile(page, seed)).to_have_accessible_name(re.compile(f"^Seed {seed}: ."))
    expect_seen(tile(page, seed).locator("img"))


def expect_seen(image: Locator) -> None:
    """Wait until an image has its pixels."""
    expect(image).to_have_js_property("complete", True)
    expect(image).not_to_have_js_property("naturalWidth", 0)


def notice(page: Page) -> Locator:
    """Return where it is said what is wrong overall."""
    return page.locator("#notice")
