"""The status view, and who may see what in it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Page, expect

from producer.keys import Scope
from tests.acceptance.page.conftest import Visits
from tests.conftest import empty_database
from tests.integration.api import api_settings, new_key, pretend_worker
from tests.integration.conftest import Hand
from tests.page.browser import Site
from tests.page.steps import tiles, write
from worker.local.stack import Endpoints

DATABASE = 11


@pytest.fixture
def quiet(endpoints: Endpoints) -> Endpoints:
    """A database that no worker listens to and no other file of these tests has."""
    return empty_database(endpoints, DATABASE)


@pytest.fixture
def hand(quiet: Endpoints) -> Iterator[Hand]:
    """Plays the worker, of which the page believes that it lives."""
    hand = Hand(quiet)
    pretend_worker(quiet)
    yield hand
    hand.client.close()


@pytest.fixture
def keyed(quiet: Endpoints, visit: Visits) -> Iterator[Site]:
    """A page of an API that asks for a key."""
    with visit.serving(api_settings(quiet, api_auth="required")) as url:
        yield Site(url, quiet.s3_url)


def failed_job(hand: Hand) -> str:
    """Have one seed of a job fail, and return the job's id."""
    job = hand.client.submit([1, 2])
    hand.finish(job.id, (1, 2), bad=(2,))
    return job.id


def give_key(page: Page, key: str) -> None:
    dialog = page.get_by_role("dialog", name="API key")
    dialog.get_by_label("API key").fill(key)
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_be_hidden()


def test_the_status_tells_of_workers_backlog_batches_and_the_cache(visit: Visits, site: Site) -> None:
    for _ in range(2):
        order = {"json": {"seeds": [90_001, 90_002]}, "headers": {"Prefer": "wait=30"}}
        assert httpx2.post(f"{site.url}/v1/jobs", **order, timeout=60).json()["status"] == "succeeded"  # type: ignore[arg-type]
    page = visit(site, "#/status")
    (model,) = httpx2.get(f"{site.url}/v1/info").json()["models"]
    main = page.get_by_role("main")
    expect(main).to_contain_text(model)
    for name in ("Queue", "Object store", "Workers", "Seeds to do", "Speed", "From the cache"):
        expect(main.get_by_role("term").filter(has_text=name)).to_be_visible()
    expect(main.get_by_role("heading", name="Batches")).to_be_visible()
    expect(main.get_by_role("listitem").first).to_be_visible()


def test_a_dead_letter_is_shown_with_its_reason_and_sent_again(visit: Visits, quiet: Endpoints, hand: Hand) -> None:
    job = failed_job(hand)
    with visit.serving(api_settings(quiet)) as url:
        page = visit(Site(url, quiet.s3_url), "#/status")
        letters = page.get_by_role("region", name="Dead letters")
        expect(letters).to_contain_text(job)
        expect(letters).to_contain_text("bad")
        waiting = hand.client.queue().waiting
        letters.get_by_role("button", name="Replay").click()
        expect(letters).to_contain_text("None.")
    assert hand.client.queue().dead_letters == 0
    assert hand.client.queue().waiting == waiting + 1


def test_a_page_that_needs_a_key_asks_for_it_and_shows_what_the_key_allows(
    visit: Visits, quiet: Endpoints, hand: Hand, keyed: Site
) -> None:
    visit.allow(r"\b401\b")
    failed_job(hand)
    page = visit(keyed, "#/status")
    give_key(page, new_key(quiet, Scope.READ, Scope.SUBMIT))
    expect(page.get_by_role("main")).to_contain_text("A key with the scope admin")
    expect(page.get_by_role("button", name="Replay")).to_have_count(0)
    page.get_by_role("link", name="Make").click()
    write(page, "7")
    expect(tiles(page, "queued")).to_have_count(1)


def test_an_admin_key_sees_dead_letters_and_sends_them_again(
    visit: Visits, quiet: Endpoints, hand: Hand, keyed: Site
) -> None:
    visit.allow(r"\b401\b")
    job = failed_job(hand)
    page = visit(keyed, "#/status")
    give_key(page, new_key(quiet, Scope.ADMIN))
    letters = page.get_by_role("region", name="Dead letters")
    expect(letters).to_contain_text(job)
    waiting = hand.client.queue().waiting
    letters.get_by_role("button", name="Replay").click()
    expect(letters).to_contain_text("None.")
    assert hand.client.queue().waiting == waiting + 1


def test_a_key_that_is_not_known_is_refused_in_words_and_asked_for_again(visit: Visits, keyed: Site) -> None:
    visit.allow(r"\b401\b")
    page = visit(keyed)
    give_key_of_nobody = "sm_abcdefghijkl_" + "a" * 43
    dialog = page.get_by_role("dialog", name="API key")
    dialog.get_by_label("API key").fill(give_key_of_nobody)
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("not taken")
