"""Pictures of the page in each of its states, for people to look at: ``python -m tests.page.screenshots FOLDER``.

The demo model makes what is shown, and a stand-in where seeds fail and servers go away.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from producer import Client
from tests.integration.api import api_settings, serving
from tests.page.browser import DESKTOP, MISSING, PHONE, Site, chromium_program, new_page, running_chromium
from tests.page.mill import running_mill
from tests.page.steps import expect_published, expect_seen, notice, tile, tiles, write
from tests.torture.stand_in import Plan
from worker.local.stack import ending_on_signals, running_stack

SHOWN = range(120)
"""Seeds that the gallery has."""

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"size": DESKTOP, "color_scheme": "light"},
    "dark": {"size": DESKTOP, "color_scheme": "dark"},
    "phone": {"size": PHONE, "color_scheme": "light", "device_scale_factor": 2},
    "phone_dark": {"size": PHONE, "color_scheme": "dark", "device_scale_factor": 2},
}

Ready = Callable[[Page], object]

VIEWS: dict[str, tuple[str, Ready]] = {
    "make_empty": ("#/", lambda page: expect(page.get_by_role("heading", level=1)).to_be_visible()),
    "gallery": ("#/gallery", lambda page: all_seen(page, 6)),
    "search": ("#/gallery?q=mountain", lambda page: all_seen(page, 2)),
    "search_empty": ("#/gallery?q=zebra", lambda page: expect(page.get_by_text("Show all")).to_be_visible()),
    "viewer": ("#/seed/42", lambda page: expect_seen(page.get_by_role("dialog").get_by_role("img"))),
    "viewer_missing": ("#/seed/123456789", lambda page: expect(page.get_by_text("Make it")).to_be_visible()),
    "status": ("#/status", lambda page: expect(page.get_by_role("table").first).to_be_visible()),
}


class Camera:
    """Takes pictures of a browser's pages into a folder."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, site: Site, path: str = "", look: str = "light") -> Page:
        """Return a page of somebody who was never here."""
        page, _ = new_page(self._browser, site, reduced_motion="reduce", **LOOKS[look])
        page.goto(f"{site.url}/{path}")
        return page

    def take(self, page: Page, name: str) -> None:
        """Take a picture of a page, and close it."""
        page.wait_for_timeout(600)  # for what fades in
        page.screenshot(path=self._folder / f"{name}.png")
        page.context.close()
        print(name)


def all_seen(page: Page, count: int) -> None:
    """Wait for the pictures of the first tiles."""
    for place in range(count):
        expect_seen(tiles(page).nth(place).locator("img"))


def take_views(camera: Camera, site: Site) -> None:
    """Take every view in every look."""
    for look in LOOKS:
        for name, (path, is_ready) in VIEWS.items():
            page = camera.open(site, path, look)
            is_ready(page)
            camera.take(page, f"{name}_{look}")


def take_jobs(camera: Camera, site: Site) -> None:
    """Take a job as it is sent, under way, and done; and what is no seed."""
    for look in LOOKS:
        page = camera.open(site, look=look)
        page.route("**/v1/jobs/*", lambda _: None)  # which is never answered
        write(page, "200 300 400")
        expect(tiles(page, "queued")).to_have_count(3)
        camera.take(page, f"make_sent_{look}")
    for look, first in zip(LOOKS, range(10_000, 50_000, 10_000), strict=True):
        page = camera.open(site, look=look)
        write(page, f"{first}..{first + 299}")
        expect_published(page, first)
        camera.take(page, f"make_running_{look}")
        page = camera.open(site, look=look)
        write(page, "0..11")
        expect_published(page, 11) if look in ("light", "dark") else expect_published(page, 0)
        camera.take(page, f"make_done_{look}")
    page = camera.open(site)
    write(page, "1 2 forty-two")
    camera.take(page, "make_no_seed")


def take_troubles(camera: Camera, folder: Path) -> None:
    """Take a seed that fails, an object store, a queue and an API that are away, and what asks for a key."""
    with running_mill(folder, Plan(ms_per_seed=20, raises=(5,))) as mill:
        page = camera.open(mill.site)
        write(page, "1..8")
        expect(tile(page, 5)).to_have_attribute("data-state", "failed")
        camera.take(page, "make_failed")
        page = camera.open(mill.site, "#/status")
        expect(page.get_by_role("button", name="Replay")).to_be_visible()
        camera.take(page, "status_dead_letter")
        with serving(api_settings(mill.endpoints, api_auth="required")) as url:
            page = camera.open(Site(url, mill.endpoints.s3_url))
            expect(page.get_by_role("dialog")).to_be_visible()
            camera.take(page, "key")
        for name, first, end, start in (
            ("away_store", 1000, mill.kill_s3, mill.start_s3),
            ("away_queue", 2000, mill.kill_valkey, mill.start_valkey),
            ("away_api", 3000, mill.api.process.stop, mill.start_api),
        ):
            page = camera.open(mill.site)
            write(page, f"{first}..{first + 200}")
            expect(tiles(page, "published").or_(tiles(page, "running")).first).to_be_visible()
            end()
            expect(notice(page)).not_to_be_empty()
            camera.take(page, name)
            start()


def main() -> None:
    """Take all of them."""
    program = chromium_program()
    if program is None or len(sys.argv) != 2:
        sys.exit(MISSING if program is None else __doc__)
    with ending_on_signals(), tempfile.TemporaryDirectory() as name, running_chromium(program) as browser:
        camera = Camera(browser, Path(sys.argv[1]))
        with running_stack(Path(name) / "stack") as stack:
            stack.start_servers()
            stack.start_worker()
            site = Site(stack.start_api(), stack.endpoints.s3_url)
            with Client(stack.endpoints.redis_url) as client:
                client.submit(SHOWN).wait(120)
            take_views(camera, site)
            take_jobs(camera, site)
        take_troubles(camera, Path(name) / "mill")


if __name__ == "__main__":
    main()
