"""The Gradio demo, in a browser: at /ui of the API and alone. ``make test-demo`` has what it needs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from producer.keys import KeyStore, Scope, make_key
from tests.integration.api import api_settings, serving
from tests.page.browser import MISSING, PATIENCE_MS, Site, chromium_program, new_page, running_chromium
from tests.support import ROOT, clean_environment
from worker.local.process import Process, free_port
from worker.local.stack import Endpoints

pytest.importorskip("gradio", reason="no Gradio is installed: run make test-demo")

pytestmark = pytest.mark.filterwarnings("default")  # those of Gradio are not ours to mend

CODE = "import sys; from producer.cli import main; sys.argv[0] = 'seedmill'; main()"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium_program()
    if program is None:
        pytest.skip(MISSING)
    with running_chromium(program) as browser:
        yield browser


@contextmanager
def visiting(browser: Browser, url: str) -> Iterator[Page]:
    """Open the demo at a URL, inside; what its page must not do fails the test."""
    page, guard = new_page(browser, Site(url, url))
    guard.allow("/favicon.ico")  # a browser asks for it by itself where a page names none
    page.goto(url)
    expect(page.get_by_label("Seeds")).to_be_visible(timeout=PATIENCE_MS)
    yield page
    page.wait_for_timeout(0)  # lets what has happened be told
    page.context.close()
    assert guard.wrong == []


@pytest.fixture
def page(browser: Browser, demo: str) -> Iterator[Page]:
    with visiting(browser, demo) as page:
        yield page


@pytest.fixture(scope="module", params=["mounted", "alone"])
def demo(request: pytest.FixtureRequest, endpoints: Endpoints, worker: Process) -> Iterator[str]:
    """The URL of the demo of an API that has a worker."""
    if request.param == "mounted":
        with serving(api_settings(endpoints, api_demo=True)) as url:
            yield f"{url}/ui"
        return
    port = free_port()
    with serving(api_settings(endpoints)) as url:
        command = [sys.executable, "-c", CODE, "demo", "--url", url, "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"open http://127.0.0.1:{port}\n"
            _wait_until_served(f"http://127.0.0.1:{port}/", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def _wait_until_served(url: str, process: subprocess.Popen[str]) -> None:
    transport = httpx2.HTTPTransport(retries=8)  # each waits twice as long as the one before, from half a second on
    with httpx2.Client(transport=transport, timeout=30) as client:
        assert client.get(url).status_code == 200
    assert process.poll() is None


def make(page: Page, seeds: str) -> None:
    page.get_by_label("Seeds").fill(seeds)
    page.get_by_role("button", name="Make").click()


def shows(page: Page, words: str) -> None:
    expect(page.get_by_label("Status", exact=True)).to_have_value(words, timeout=PATIENCE_MS)


def pictures(page: Page) -> list[str]:
    return [str(one.get_attribute("src")) for one in page.locator("button img").all()]


def test_seeds_become_pictures_with_their_captions(page: Page, demo: str) -> None:
    make(page, "7, 100..102")
    shows(page, "Done: 4 of 4 pictures.")
    expect(page.locator("button img")).to_have_count(4)
    names = [url.rpartition("/")[2] for url in pictures(page)]
    assert names == [f"seed_{seed:010d}.png" for seed in (7, 100, 101, 102)]
    assert all(url.startswith(demo) for url in pictures(page))
    expect(page.get_by_text("7: a pointillist painting")).to_be_visible()
    sizes = page.locator("button img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert sizes == [256] * 4


def test_a_surprise_is_six_pictures(page: Page) -> None:
    page.get_by_role("button", name="Surprise me").click()
    shows(page, "Done: 6 of 6 pictures.")
    assert len(page.get_by_label("Seeds").input_value().split()) == 6


def test_what_is_wrong_is_told_in_words(page: Page) -> None:
    page.get_by_role("button", name="Make").click()
    shows(page, "No seed is given: write numbers and ranges, as in 7 8 100..109.")
    make(page, "0..100")
    shows(page, "101 seeds are more than are shown here: give at most 100.")
    make(page, "7 cat")
    shows(page, "'cat' is not a seed: a seed is a whole number from 0 to 4294967295; a range is written 0..99.")
    page.get_by_role("button", name="Cancel").click()
    shows(page, "There is nothing to cancel.")


def test_a_job_that_waits_is_cancelled(browser: Browser, quiet: Endpoints) -> None:
    with serving(api_settings(quiet, api_demo=True)) as url, visiting(browser, f"{url}/ui") as page:
        make(page, "1..3")
        shows(page, "In the queue: 0 before it.")
        page.get_by_role("button", name="Cancel").click()
        shows(page, "Cancelled: 0 of 3 pictures were made.")
        (job,) = httpx2.get(f"{url}/v1/jobs").json()["data"]
        assert job["status"] == "canceled"


def test_an_api_that_asks_for_keys_is_asked_with_the_visitors(
    browser: Browser, quiet: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, key = make_key("visitor", scopes={Scope.READ, Scope.SUBMIT})
    with KeyStore(quiet.redis_url) as keys:
        keys.add(key)
    monkeypatch.setenv("SEEDMILL_API_KEY", text)  # the server's own is for no visitor
    with (
        serving(api_settings(quiet, api_demo=True, api_auth="required")) as url,
        visiting(browser, f"{url}/ui") as page,
    ):
        make(page, "1..3")
        status = page.get_by_label("Status", exact=True)
        expect(status).to_have_value(
            "An API key is needed: send the header Authorization: Bearer sm_..., with a key that "
            "seedmill keys create has made.",
            timeout=PATIENCE_MS,
        )
        page.get_by_label("API key").fill(text)
        make(page, "1..3")
        shows(page, "In the queue: 0 before it.")
        page.get_by_role("button", name="Cancel").click()
        shows(page, "Cancelled: 0 of 3 pictures were made.")


def test_below_a_path_of_a_proxy_the_demo_says_where_it_is(quiet: Endpoints) -> None:
    with serving(api_settings(quiet, api_demo=True, api_root_path="/mill")) as url, httpx2.Client() as client:
        assert client.get(f"{url}/ui").headers["location"] == "ui/"
        assert f'"root":"{url}/mill/ui"' in client.get(f"{url}/ui/").text.replace(" ", "")


def test_visitors_leave_no_files_and_strangers_pages_reach_nothing(quiet: Endpoints) -> None:
    with serving(api_settings(quiet, api_demo=True)) as url, httpx2.Client(base_url=f"{url}/ui") as client:
        sent = client.post("/gradio_api/upload", files={"files": ("x.png", b"x" * 1000)})
        assert sent.status_code == 413
        assert client.get(f"/gradio_api/file={ROOT / 'README.md'}").status_code in (403, 404)
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        strange = client.post("/gradio_api/queue/join", json={}, headers={"Origin": "http://evil.example"})
        assert strange.status_code == 403
