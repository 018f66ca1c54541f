"""Seeds become tiles at once and pictures as they are published, on a real worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.page.conftest import Visits
from tests.page.browser import Site
from tests.page.steps import expect_published, held, job_id, jobs, tile, tiles, write

Fresh = Callable[[int], range]


def test_seeds_are_tiles_at_once_and_pictures_as_soon_as_they_are_published(
    visit: Visits, site: Site, seeds: Fresh
) -> None:
    wanted = seeds(3)
    page = visit(site)
    with held(page, "PUT"):
        write(page, " ".join(map(str, wanted)))
        for seed in wanted:
            expect(tile(page, seed)).to_have_attribute("data-state", "queued")
            expect(tile(page, seed)).to_have_accessible_name(f"Seed {seed}, queued")
    for seed in wanted:
        expect_published(page, seed)


def test_a_picture_is_seen_within_moments_of_its_publication(visit: Visits, site: Site, seeds: Fresh) -> None:
    (seed,) = seeds(1)
    page = visit(site)
    write(page, str(seed))
    expect_published(page, seed)
    seen_ms = page.evaluate("seed => window.loadedAt[seed]", str(seed))
    published = datetime.fromisoformat(httpx2.get(f"{site.url}/v1/images/{seed}/details").json()["published_at"])
    took_s = seen_ms / 1000 - published.timestamp()
    print(f"seen {took_s * 1000:.0f} ms after its publication")
    assert -0.1 < took_s < 5


def test_a_surprise_is_a_job_of_seeds_that_nobody_named(visit: Visits, site: Site) -> None:
    page = visit(site)
    page.get_by_role("button", name="Surprise me").click()
    expect(tiles(page, "published").first).to_be_visible()
    expect(tiles(page, "queued").or_(tiles(page, "running"))).to_have_count(0)
    assert all(int(one.get_attribute("data-seed") or "") > 0 for one in tiles(page).all())


@pytest.mark.parametrize("written", ["{0}, {1}  {2}", "{0}..{2}", "{0}-{2}"])
def test_a_list_and_a_range_are_one_job(visit: Visits, site: Site, seeds: Fresh, written: str) -> None:
    wanted = seeds(3)
    page = visit(site)
    write(page, written.format(*wanted))
    for seed in wanted:
        expect_published(page, seed)
    assert httpx2.get(f"{site.url}/v1/jobs/{job_id(page)}").json()["counts"]["total"] == 3


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("forty-two", "forty-two"),
        ("1 2 4294967296", "4294967296"),
        ("9..3", "9..3"),
        ("0..4294967295", "0..4294967295"),
        ("-1", "-1"),
        ("", "."),
    ],
)
def test_what_is_no_seed_is_named_in_words_and_enqueues_nothing(
    visit: Visits, site: Site, written: str, words: str
) -> None:
    sent: list[str] = []
    page = visit(site)
    page.on("request", lambda request: sent.append(request.url) if request.method in ("POST", "PUT") else None)
    write(page, written)
    field = page.get_by_role("textbox", name="Seeds")
    expect(field).to_have_accessible_description(re.compile(re.escape(words) if words != "." else "\\w"))
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(jobs(page)).to_have_count(0)
    assert sent == []


def test_a_job_has_an_address_that_survives_a_reload(visit: Visits, site: Site, seeds: Fresh) -> None:
    wanted = seeds(2)
    page = visit(site)
    write(page, " ".join(map(str, wanted)))
    address = f"{site.url}/#/job/{job_id(page)}"
    fresh: Page = visit(site, f"#/job/{job_id(page)}")
    for _ in range(2):
        for seed in wanted:
            expect_published(fresh, seed)
        assert fresh.url == address
        fresh.reload()


def test_an_unknown_job_is_told_as_such(visit: Visits, site: Site) -> None:
    visit.allow("404.*/v1/jobs/nobody-made-it")
    page = visit(site, "#/job/nobody-made-it")
    expect(page.get_by_role("main")).to_contain_text(re.compile("nobody-made-it"))
    expect(tiles(page)).to_have_count(0)


def test_more_jobs_than_are_streamed_are_all_shown_again_after_a_reload(
    visit: Visits, site: Site, seeds: Fresh
) -> None:
    wanted = seeds(4)
    page = visit(site)
    for seed in wanted:
        write(page, str(seed))
        expect_published(page, seed)
    page.reload()
    for seed in wanted:
        expect_published(page, seed)


def test_a_double_click_is_one_job_and_a_browser_that_remembers_nothing_is_enough(
    visit: Visits, site: Site, seeds: Fresh
) -> None:
    (seed,) = seeds(1)
    page = visit(site)
    page.add_init_script("for (const name of ['localStorage', 'sessionStorage']) delete window[name];")
    page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage']) "
        "Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError'); } });"
    )
    page.reload()
    page.get_by_role("textbox", name="Seeds").fill(str(seed))
    page.get_by_role("button", name="Make pictures").dblclick()
    expect_published(page, seed)
    expect(jobs(page)).to_have_count(1)
