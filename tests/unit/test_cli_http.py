"""The commands with --url: the same output and exit status, whoever answers."""

from __future__ import annotations

import json

import pytest

from producer.cli.runner import exit_code
from producer.problems import TYPE_PREFIX, to_error
from tests.support import one_line, run_seedmill
from tests.unit.scripted_api import JOB, document, problem, scripted

DONE = {
    **JOB,
    "status": "succeeded",
    "counts": {"total": 3, "queued": 0, "running": 0, "succeeded": 3, "failed": 0, "canceled": 0},
}
QUEUE = {
    "waiting": 2,
    "interactive": 1,
    "lanes": [1, 0, 0, 1],
    "held": 0,
    "active_jobs": 1,
    "oldest_job_s": 3.5,
    "dead_letters": 0,
    "workers": [{"model_id": "demo-1", "device": "cpu"}],
}
RESULTS = {
    "data": [
        {
            "seed": 7,
            "status": "succeeded",
            "caption": "a pier",
            "image_uri": "s3://b/k",
            "image_url": "https://s3/b/k?X",
        },
        {"seed": 8, "status": "failed", "error": {"type": "ValueError", "message": "bad"}, "image_url": None},
    ],
    "has_more": False,
    "next": None,
}


def test_a_submit_that_waits_shows_results_with_the_urls_that_the_api_signed() -> None:
    with scripted(document(JOB, 202), document(QUEUE), document(DONE), document(RESULTS)) as api:
        done = run_seedmill("submit", "7..9", "--wait", "--urls", "--url", api.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "7\tsucceeded\ta pier\ts3://b/k\thttps://s3/b/k?X",
        "8\tfailed\tValueError: bad\t\t",
    ]
    assert [asked.method for asked in api.asked] == ["PUT", "GET", "GET", "GET"]


def test_the_environment_names_the_api_and_the_key() -> None:
    with scripted(document(DONE), document(RESULTS)) as api:
        environment = {"SEEDMILL_API_URL": api.url, "SEEDMILL_API_KEY": "sm_1_hush"}
        done = run_seedmill("results", "mine", "--json", "--urls", environment=environment)
    assert [entry["image_url"] for entry in json.loads(done.stdout)] == ["https://s3/b/k?X", None], done.stderr
    assert {asked.headers["authorization"] for asked in api.asked} == {"Bearer sm_1_hush"}


def test_the_queue_is_shown_to_those_who_may_not_know_where_workers_run() -> None:
    with scripted(document(QUEUE)) as api:
        done = run_seedmill("queue", "--url", api.url)
    assert "2 messages waiting (1 interactive)" in done.stdout, done.stderr
    assert "\n  cpu, model demo-1\n" in done.stdout


def test_who_may_submit_and_not_look_is_told_no_more_than_that() -> None:
    with scripted(document(JOB, 202), problem("forbidden", 403, "the scope 'read' is needed"), document(DONE)) as api:
        done = run_seedmill("submit", "7", "--wait", "--json", "--url", api.url)
    assert "forbidden" not in done.stderr
    assert "no worker" not in done.stderr


@pytest.mark.parametrize(
    ("name", "http_status", "exit_status"),
    [
        ("queue-full", 503, 3),
        ("share-full", 429, 3),
        ("rate-limited", 429, 3),
        ("queue-unreachable", 503, 3),
        ("internal-error", 500, 3),
        ("unauthorized", 401, 2),
        ("forbidden", 403, 2),
        ("job-conflict", 409, 2),
        ("invalid-request", 422, 2),
    ],
)
def test_every_refusal_has_its_exit_status(name: str, http_status: int, exit_status: int) -> None:
    assert exit_code(to_error({"type": TYPE_PREFIX + name}, http_status)) == exit_status


def test_a_refusal_is_one_line() -> None:
    with scripted(problem("queue-full", 503, "the queue is full", Retry_After="9")) as api:
        done = run_seedmill("submit", "7", "--url", api.url)
    assert (done.returncode, one_line(done.stderr)) == (3, "seedmill: the queue is full")


def test_a_queue_that_cannot_be_looked_at_does_not_lose_the_job() -> None:
    broken = problem("internal-error", 500, "a bug")
    with scripted(document(JOB, 202), broken, document(DONE), document(RESULTS)) as api:
        done = run_seedmill("submit", "7..9", "--wait", "--url", api.url)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), done.stderr


@pytest.mark.parametrize(
    ("replies", "arguments", "status", "hint"),
    [
        ([document(QUEUE), document(JOB)], ["--timeout", "0"], 4, "the job goes on: seedmill wait mine"),
        ([document(QUEUE), problem("internal-error", 500)], [], 3, "the job goes on: seedmill wait mine"),
        ([document(QUEUE), problem("forbidden", 403)], [], 2, "the job goes on: seedmill wait mine"),
        (
            [document(QUEUE), document(DONE), problem("internal-error", 500)],
            ["--json"],
            3,
            "the job has ended: seedmill results mine",
        ),
    ],
)
def test_a_wait_that_fails_after_a_submit_says_how_to_go_on(
    replies: list[bytes], arguments: list[str], status: int, hint: str
) -> None:
    with scripted(document(JOB, 202), *replies) as api:
        done = run_seedmill("submit", "7", "--wait", *arguments, "--url", api.url)
    assert (done.returncode, done.stdout) == (status, "")
    assert hint in done.stderr.splitlines()


def test_retries_are_told_neither_on_standard_error_nor_in_the_output() -> None:
    with scripted(problem("queue-unreachable", 503, "no Redis"), document(DONE)) as api:
        done = run_seedmill("status", "mine", "--json", "--url", api.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"] == "mine"


def test_two_ways_to_one_queue_are_refused() -> None:
    done = run_seedmill("queue", "--url", "http://127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1")
    assert (done.returncode, "give one of them" in one_line(done.stderr)) == (2, True)
