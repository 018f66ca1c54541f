"""A browser for each module, and for each test pages of visitors who were never here, with a guard over them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from producer.api.settings import ApiSettings
from producer.contract import GALLERY_KEY, PICTURES_KEY
from tests.integration.api import serving
from tests.page.browser import MISSING, PATIENCE_MS, Guard, Site, chromium_program, new_page, running_chromium
from tests.page.mill import Mill, running_mill
from tests.page.pictures import index_pictures, write_pictures
from worker.local.stack import Endpoints

PUBLISHED = range(2000)
"""Seeds of the pictures in the gallery, in the order in which they were published."""

expect.set_options(timeout=PATIENCE_MS)


class Visits:
    """Opens pages of a test; whatever goes wrong in one fails the test, unless it is allowed."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._allowed: list[str] = []
        self._opened: list[tuple[Page, Guard]] = []

    def __call__(self, site: Site, path: str = "", **options: Any) -> Page:
        """Return the page, at a route such as ``#/gallery``; options are those of a browser's context, and its size."""
        page, guard = new_page(self._browser, site, **options)
        self._opened.append((page, guard))
        page.goto(f"{site.url}/{path}")
        return page

    def allow(self, *patterns: str) -> None:
        """Expect what one of these regular expressions is found in, in all pages of the test."""
        self._allowed += patterns

    @contextmanager
    def serving(self, settings: ApiSettings) -> Iterator[str]:
        """Run an API, inside, and yield its URL; all pages are closed before it ends, as they would miss it."""
        with serving(settings) as url:
            yield url
            self.close()

    def close(self) -> None:
        """Close all pages, and fail if something was wrong that was not expected."""
        wrong = []
        for page, guard in self._opened:
            page.wait_for_timeout(0)  # lets what has happened be told
            guard.allow(*self._allowed)
            wrong += guard.wrong
            page.context.close()
        self._opened.clear()
        assert not wrong


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    program = chromium_program()
    if program is None:
        pytest.skip(MISSING)
    with running_chromium(program) as browser:
        yield browser


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visits]:
    """Opens the page of a site."""
    visits = Visits(chromium)
    yield visits
    visits.close()


@pytest.fixture(scope="session")
def site(api: str, endpoints: Endpoints) -> Site:
    """The API of the session's servers, with a worker that has the demo model."""
    return Site(api, endpoints.s3_url)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """A stack whose bucket has two thousand pictures."""
    folder = tmp_path_factory.mktemp("gallery")
    write_pictures(folder, PUBLISHED)
    with running_mill(folder) as mill:
        yield mill


@pytest.fixture
def gallery(published: Mill) -> Mill:
    """The same, with these pictures in the gallery and no others."""
    published.redis.delete(GALLERY_KEY, PICTURES_KEY)
    index_pictures(published.client, PUBLISHED)
    return published
