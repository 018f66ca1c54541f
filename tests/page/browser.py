"""Debian's Chromium, driven by Playwright, with a guard that notes whatever a page must not do.

What drives it and what it looks at share a thread: while a browser runs, ``asyncio.run`` cannot be used there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    WebError,
    sync_playwright,
)

VARIABLE = "SEEDMILL_TEST_CHROMIUM"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = f"no Chromium is installed: apt-get install chromium, or set {VARIABLE}"

DESKTOP = (1280, 800)
PHONE = (390, 844)

PATIENCE_MS = 15_000
"""How long things may take to appear, on cores that others use as well."""

NOTE_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`the policy forbids ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""

NOTE_LOADS = """
window.loadedAt = {};
document.addEventListener("load", (event) => {
  const tile = event.target.tagName === "IMG" && event.target.closest(".tile");
  if (tile) window.loadedAt[tile.dataset.seed] ??= Date.now();
}, true);
"""
"""Keeps, by seed, when the picture of a tile was there: milliseconds since 1970."""

SERIOUS = ("serious", "critical")


@dataclass(frozen=True)
class Site:
    """An API that serves the page, and the object store whose URLs it signs."""

    url: str
    s3_url: str


class Guard:
    """Notes errors on the console and in scripts, what the policy forbids, requests elsewhere, answers from 400 on."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self._origins = {origin(site.url), origin(site.s3_url)}
        self._allowed: list[str] = []
        self._found: list[str] = []
        context.add_init_script(NOTE_VIOLATIONS)
        context.on("console", self._note_console)
        context.on("weberror", self._note_error)
        context.on("request", self._note_request)
        context.on("response", self._note_response)

    def allow(self, *patterns: str) -> None:
        """Expect what one of these regular expressions is found in; a line has the URL that it is about."""
        self._allowed += patterns

    @property
    def wrong(self) -> list[str]:
        """What was noted and not expected."""
        return [line for line in self._found if not any(re.search(pattern, line) for pattern in self._allowed)]

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._found.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _note_error(self, error: WebError) -> None:
        self._found.append(f"script: {error.error}")

    def _note_request(self, request: Request) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob") and origin(request.url) not in self._origins:
            self._found.append(f"request elsewhere: {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400:
            self._found.append(f"status {response.status}: {response.request.method} {response.url}")


def origin(url: str) -> str:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def chromium_program() -> str | None:
    """Return the path of a Chromium, if there is one."""
    named = os.environ.get(VARIABLE)
    return named or next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def running_chromium(program: str) -> Iterator[Browser]:
    """Yield a browser, which ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, site: Site, *, size: tuple[int, int] = DESKTOP, **options: Any) -> tuple[Page, Guard]:
    """Return an empty page of a visitor who was never here, and the guard that watches it."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(NOTE_LOADS)
    return context.new_page(), Guard(context, site)


def serious_findings(page: Page) -> list[str]:
    """Return what axe finds wrong in the page as it is, if it is serious: the rule, and where."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]
