"""A job as it goes on, is cancelled, or fails; and servers that go away and come back, said in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx2
import pytest
from playwright.sync_api import expect

from producer import Client
from tests.acceptance.page.conftest import Visits
from tests.conftest import empty_database
from tests.integration.api import api_settings
from tests.page.browser import Site
from tests.page.mill import Mill, running_mill
from tests.page.steps import expect_published, job_id, jobs, notice, tile, tiles, write
from tests.torture.bench import kill, wait_until
from tests.torture.stand_in import Plan
from worker.local.stack import Endpoints

Fresh = Callable[[int], range]

BAD_SEED = 77

AWAY = r"net::ERR_CONNECTION_REFUSED|net::ERR_EMPTY_RESPONSE|net::ERR_CONNECTION_RESET|net::ERR_INCOMPLETE_CHUNKED"
"""What Chromium writes to the console when a server is away."""


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """A stack with a worker that is slow, and fails at one seed."""
    with running_mill(tmp_path_factory.mktemp("mill"), Plan(ms_per_seed=30, raises=(BAD_SEED,))) as mill:
        yield mill


@pytest.fixture
def idle(endpoints: Endpoints, visit: Visits) -> Iterator[tuple[Site, Client]]:
    """A page whose queue no worker listens to, and a client of that queue."""
    quiet = empty_database(endpoints, 11)
    with visit.serving(api_settings(quiet)) as url, Client(quiet.redis_url) as client:
        yield Site(url, quiet.s3_url), client


def written(seeds: range) -> str:
    return f"{seeds[0]}..{seeds[-1]}"


def test_without_a_worker_seeds_wait_and_the_page_says_why_and_how_many_are_ahead(
    visit: Visits, idle: tuple[Site, Client]
) -> None:
    site, client = idle
    first = client.submit([1, 2])
    client.submit([3, 4])
    page = visit(site)
    expect(notice(page)).to_contain_text("No worker is running")
    write(page, "5 6")
    expect(jobs(page)).to_contain_text("2 ahead in the queue")
    client.cancel(first.id)
    expect(jobs(page)).to_contain_text("1 ahead in the queue")
    expect(tiles(page, "queued")).to_have_count(2)
    jobs(page).get_by_role("button", name="Cancel").click()
    expect(tiles(page, "canceled")).to_have_count(2)
    assert client.get(job_id(page)).status == "canceled"


def test_a_longer_job_tells_how_far_how_fast_and_how_long_until_it_is_cancelled(
    visit: Visits, mill: Mill, seeds: Fresh
) -> None:
    wanted = seeds(400)
    page = visit(mill.site)
    write(page, written(wanted))
    job = jobs(page)
    expect(job.get_by_role("progressbar")).to_be_visible()
    expect(tiles(page, "running").first).to_be_attached()
    expect(job).to_contain_text(re.compile(r"[1-9]\d* of 400"))
    expect(job).to_contain_text(re.compile(r"[\d.]+ seeds/s .*left"))
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_contain_text("canceled")
    expect(job.get_by_role("button", name="Cancel")).to_have_count(0)
    wait_until(lambda: mill.messages() == 0, "an empty queue", 10)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(tile(page, wanted[-1])).to_have_attribute("data-state", "canceled")
    expect(tile(page, wanted[-1])).to_have_accessible_name(f"Seed {wanted[-1]}, canceled")
    assert mill.computed_counts()[wanted[-1]] == 0


def test_where_events_do_not_come_the_job_is_asked_for_instead(visit: Visits, mill: Mill, seeds: Fresh) -> None:
    visit.allow(r"net::ERR_FAILED.*/events")
    wanted = seeds(6)
    page = visit(mill.site)
    page.route("**/events", lambda route: route.abort())
    write(page, written(wanted))
    for seed in wanted:
        expect_published(page, seed)
    expect(jobs(page)).to_contain_text("6 of 6")


def test_a_seed_that_fails_says_why_and_the_others_are_there(visit: Visits, mill: Mill, seeds: Fresh) -> None:
    (good,) = seeds(1)
    page = visit(mill.site)
    write(page, f"{good} {BAD_SEED}")
    expect_published(page, good)
    expect(tile(page, BAD_SEED)).to_have_attribute("data-state", "failed")
    expect(tile(page, BAD_SEED)).to_contain_text("cannot be drawn")
    expect(jobs(page)).to_contain_text("1 failed")


def test_an_object_store_that_is_away_is_said_and_pictures_come_when_it_is_back(
    visit: Visits, mill: Mill, seeds: Fresh
) -> None:
    visit.allow(AWAY, "503")
    wanted = seeds(150)
    page = visit(mill.site)
    write(page, written(wanted))
    expect_published(page, wanted[0])
    mill.kill_s3()
    expect(notice(page)).to_contain_text("object store does not answer")
    assert httpx2.get(f"{mill.site.url}/v1/jobs/{job_id(page)}").json()["status"] == "running"
    mill.start_s3()
    expect(notice(page)).to_be_empty()
    expect(jobs(page)).to_contain_text("150 of 150")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect_published(page, wanted[-1])


def test_a_queue_that_is_away_is_said_and_the_job_goes_on_when_it_is_back(
    visit: Visits, mill: Mill, seeds: Fresh
) -> None:
    visit.allow(AWAY, "503")
    wanted = seeds(100)
    page = visit(mill.site)
    write(page, written(wanted))
    expect_published(page, wanted[0])
    mill.kill_valkey()
    expect(notice(page)).to_contain_text("queue (Redis) does not answer")
    mill.start_valkey()
    expect(notice(page)).to_be_empty()
    expect(jobs(page)).to_contain_text("100 of 100")


def test_an_api_that_is_away_is_said_and_the_job_is_followed_on_when_it_is_back(
    visit: Visits, mill: Mill, seeds: Fresh
) -> None:
    visit.allow(AWAY)
    wanted = seeds(100)
    page = visit(mill.site)
    write(page, written(wanted))
    expect_published(page, wanted[0])
    kill(mill.api.process)
    expect(notice(page)).to_contain_text("API does not answer")
    mill.start_api()
    expect(notice(page)).to_be_empty()
    expect(jobs(page)).to_contain_text("100 of 100")
    expect_published(page, wanted[0])
