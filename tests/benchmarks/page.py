"""How the page fares in a browser: ``python -m tests.benchmarks.page``; ``make bench-page`` runs it.

A stack with the demo model, and Chromium without a window beside it on the same cores. Lone seeds are asked for on the
page, and it is seen how long after its publication each picture is there. Then the stack starts again without a worker
and with a gallery of ten thousand pictures, which is opened, scrolled through, and searched. Prints a table, and writes
one into the README and ``results/page.json``; a quick run writes only what ``--out`` names.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from playwright.sync_api import Browser, Page, expect
from rich.console import Console

from producer import Client
from producer.contract import image_key
from tests.benchmarks import page_report
from tests.benchmarks.measure import cpu_s, machine, machine_cpu_s
from tests.benchmarks.report import keep
from tests.page.browser import MISSING, Site, chromium_program, new_page, running_chromium
from tests.page.pictures import MODEL, caption_of, index_pictures
from tests.page.steps import expect_published, tile, tiles, write
from worker.local.stack import BUCKET, Stack, ending_on_signals, running_stack
from worker.machine import usable_cores

LONE = 20
"""Seeds that are asked for one after the other."""

COLD = 5
"""Times that the page is loaded by somebody who was never here."""

PUBLISHED = 10_000
SAMPLES = 48
"""Pictures that the model makes, of which those of the gallery are copies."""

STEP_PX = 200
"""How far is scrolled with each frame."""

WORDS = "crimson teapot"
PATIENCE_S = 180.0

NOTE_FIRST = """
window.firstAt = {};
const note = (name) => { window.firstAt[name] ??= performance.now(); };
new MutationObserver((_, observer) => {
  if (document.querySelector(".tile")) { note("tile"); observer.disconnect(); }
}).observe(document, { childList: true, subtree: true });
document.addEventListener("load", (event) => { if (event.target.closest?.(".tile")) note("picture"); }, true);
"""
"""Keeps when the first tile was in the document and the first picture was loaded, milliseconds after the start."""

LOADED = """
() => {
  const { domContentLoadedEventEnd } = performance.getEntriesByType("navigation")[0];
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return { paint_ms: paint.startTime, interactive_ms: domContentLoadedEventEnd };
}
"""
"""When something was painted, and when all scripts had run, so that the page answers."""

SCROLL = """
async ({ step, until }) => {
  const deltas = [];
  const seen = new Set();
  let before = await new Promise(requestAnimationFrame);
  while (seen.size < until) {
    scrollBy(0, step);
    const now = await new Promise(requestAnimationFrame);
    deltas.push(now - before);
    before = now;
    for (const tile of document.querySelectorAll(".tile")) seen.add(tile.dataset.seed);
  }
  return deltas;
}
"""
"""Scrolls until so many tiles were there, and returns the milliseconds of each frame."""


def watch_lone_seeds(browser: Browser, site: Site, count: int) -> list[dict[str, float]]:
    """Ask for seeds one after the other; returns what each picture took from its publication, and from the click."""
    page, _ = new_page(browser, site)
    page.goto(site.url)
    found = []
    for seed in range(count):
        pressed = time.time()
        write(page, str(seed))
        expect_published(page, seed)
        seen = page.evaluate("seed => window.loadedAt[seed]", str(seed)) / 1000
        details = httpx2.get(f"{site.url}/v1/images/{seed}/details").json()
        published = datetime.fromisoformat(details["published_at"]).timestamp()
        found.append({"from_publication_ms": (seen - published) * 1000, "from_click_ms": (seen - pressed) * 1000})
    page.context.close()
    return found


def load_cold(browser: Browser, site: Site, times: int) -> list[dict[str, float]]:
    """Load the page as somebody who was never here; returns when it was painted and when it answered."""
    found = []
    for _ in range(times):
        page, _ = new_page(browser, site)
        page.goto(site.url, wait_until="networkidle")
        found.append(page.evaluate(LOADED))
        page.context.close()
    return found


def weigh(browser: Browser, site: Site) -> dict[str, int]:
    """Return the bytes of each file that is loaded before the first picture, as transferred."""
    page, _ = new_page(browser, site)
    loaded = []
    page.on("requestfinished", lambda request: loaded.append(request))
    page.goto(site.url, wait_until="networkidle")
    sizes = {urlsplit(one.url).path: one.sizes()["responseBodySize"] for one in loaded}
    page.context.close()
    return dict(sorted(sizes.items()))


def browse(browser: Browser, site: Site, count: int) -> dict[str, float]:
    """Open the gallery, scroll to its end, and search it."""
    page, _ = new_page(browser, site)
    page.add_init_script(NOTE_FIRST)
    page.goto(f"{site.url}/#/gallery")
    page.wait_for_function("() => window.firstAt.picture")
    first = page.evaluate("window.firstAt")
    page.set_default_timeout(PATIENCE_S * 1000)
    frames = page.evaluate(SCROLL, {"step": STEP_PX, "until": count})
    found = {
        "first_tile_ms": first["tile"],
        "first_picture_ms": first["picture"],
        "frames": len(frames),
        "frames_over_50_ms": sum(frame > 50 for frame in frames),
        "longest_frame_ms": max(frames),
        "scrolled_s": sum(frames) / 1000,
        "tiles_at_the_end": tiles(page).count(),
        **memory(page),
        "search_ms": search(page, count),
    }
    page.context.close()
    return found


def memory(page: Page) -> dict[str, float]:
    """Return how many elements there are, and what scripts hold once nothing can be let go of."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    elements = page.evaluate("document.querySelectorAll('*').length")
    return {"elements": elements, "heap_mb": metrics["JSHeapUsedSize"] / 1e6}


def search(page: Page, count: int) -> float:
    """Return the milliseconds from the last letter to the first tile that was found, with the pause for typing."""
    wanted = [seed for seed in range(count) if all(word in caption_of(seed) for word in WORDS.split())]
    page.evaluate("scrollTo(0, 0)")
    started = time.perf_counter()
    page.get_by_role("searchbox", name="Search captions").fill(WORDS)
    expect(tile(page, wanted[-1])).to_be_attached()
    expect(tiles(page).first).to_have_attribute("data-seed", str(wanted[-1]))
    return (time.perf_counter() - started) * 1000


def fill_gallery(data: Path, client: Client, samples: Sequence[Path], count: int) -> None:
    """Let the gallery have so many pictures; their files are links to a few."""
    bucket = data / "s3" / BUCKET
    (bucket / MODEL.id).mkdir(parents=True)
    for seed in range(count):
        (bucket / image_key(MODEL.id, seed)).hardlink_to(samples[seed % len(samples)])
    index_pictures(client, range(count))


def serve(stack: Stack) -> Site:
    """Start the API; returns where the page is."""
    return Site(stack.start_api(), stack.endpoints.s3_url)


def measure(browser: Browser, data: Path, *, lone: int, count: int) -> dict[str, Any]:
    """Measure all."""
    found: dict[str, Any] = {}
    with running_stack(data) as stack:
        stack.start_servers()
        stack.start_worker()
        site = serve(stack)
        found["lone"] = watch_lone_seeds(browser, site, lone)
        found["cold"] = load_cold(browser, site, COLD)
        found["weight"] = weigh(browser, site)
        with Client(stack.endpoints.redis_url) as client:
            made = client.submit(range(SAMPLES)).wait(PATIENCE_S).results()
            samples = [data / "s3" / (one.image_uri or "").removeprefix("s3://") for one in made]
    with running_stack(data) as stack:  # started anew, the S3 server sees what was put into its folder meanwhile
        stack.start_servers(empty_queue=True)
        with Client(stack.endpoints.redis_url) as client:
            fill_gallery(data, client, samples, count)
        found["gallery"] = {"pictures": count, **browse(browser, serve(stack), count)}
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few seeds, a small gallery: its figures say little")
    parser.add_argument("--out", type=Path, help="the JSON; by default that of the whole run alone is written")
    options = parser.parse_args()
    program = chromium_program()
    if program is None:
        sys.exit(MISSING)
    sizes = {"lone": 3, "count": 1000} if options.quick else {"lone": LONE, "count": PUBLISHED}
    with ending_on_signals(), tempfile.TemporaryDirectory() as name, running_chromium(program) as browser:
        began, busy, ours = time.monotonic(), machine_cpu_s(), cpu_s([os.getpid()])
        measured = measure(browser, Path(name) / "stack", **sizes)
        others = machine_cpu_s() - busy - (cpu_s([os.getpid()]) - ours)
        share = max(0.0, others) / (time.monotonic() - began) / usable_cores()
        version = browser.version
    results = {"machine": machine(), "chromium": version, "others_cpu_share": round(share, 3)}
    results |= page_report.summary(measured)
    Console(width=120).print(page_report.markdown(results), markup=False)
    out = options.out or (None if options.quick else page_report.RESULTS)
    keep(results, out, page_report.RESULTS, page_report.put_into)


if __name__ == "__main__":
    main()
