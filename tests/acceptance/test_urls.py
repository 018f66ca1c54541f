"""``--urls``: the commands that show results sign a URL of each picture, and curl opens it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from producer import Client
from tests.support import one_line, run_python, run_seedmill
from tests.torture.tls import second_address_of
from worker.local.process import Process
from worker.local.stack import Endpoints


@pytest.fixture
def public(endpoints: Endpoints) -> Iterator[str]:
    """A second address of the S3 server, for users."""
    with second_address_of(int(endpoints.s3_url.rpartition(":")[2])) as url:
        yield url


@pytest.fixture
def environment(endpoints: Endpoints, worker: Process, public: str) -> dict[str, str]:
    return {**endpoints.environment(), "SEEDMILL_S3_PUBLIC_ENDPOINT_URL": public}


def sha256_at(url: str) -> str:
    with urlopen(url) as answer:
        return hashlib.sha256(answer.read()).hexdigest()


def test_results_in_a_pipe_end_in_a_url_that_opens(environment: dict[str, str], public: str) -> None:
    submitted = run_seedmill("submit", "3..5", "--wait", "--urls", environment=environment)
    assert submitted.returncode == 0, submitted.stderr
    rows = [line.split("\t") for line in submitted.stdout.splitlines()]
    assert [(seed, status, len(row) + 2) for seed, status, *row in rows] == [
        (str(n), "succeeded", 5) for n in (3, 4, 5)
    ]
    for *_, uri, url in rows:
        assert url.startswith(f"{public}/{uri.removeprefix('s3://')}?")
        assert sha256_at(url)


def test_json_has_the_url_beside_the_uri_and_it_is_stored_nowhere(
    environment: dict[str, str], endpoints: Endpoints
) -> None:
    with Client(endpoints.redis_url) as client:
        job = client.submit([11, 12]).wait(60)
    shown = json.loads(run_seedmill("results", job.id, "--urls", "--json", environment=environment).stdout)
    waited = json.loads(run_seedmill("wait", job.id, "--urls", "--json", environment=environment).stdout)["results"]
    for entry in (*shown, *waited):
        assert sha256_at(entry["image_url"]) == entry["sha256"]
    plain = json.loads(run_seedmill("results", job.id, "--json", environment=environment).stdout)
    assert plain == [{name: entry[name] for name in entry if name != "image_url"} for entry in shown]


@pytest.mark.skipif(not shutil.which("curl"), reason="this system has no curl")
def test_curl_opens_what_the_stack_prints_for_an_object(environment: dict[str, str], endpoints: Endpoints) -> None:
    with Client(endpoints.redis_url) as client:
        (result,) = client.submit(21).wait(60).results()
    for uri, begins in ((result.image_uri, b"\x89PNG"), (result.metadata_uri, b"{")):
        url = run_seedmill("url", str(uri), environment=environment).stdout.strip()
        done = subprocess.run(["curl", "--silent", "--fail", url], capture_output=True, check=True, timeout=30)
        assert done.stdout.startswith(begins)


def test_people_see_the_url_below_the_uri(environment: dict[str, str], endpoints: Endpoints, public: str) -> None:
    with Client(endpoints.redis_url) as client:
        job = client.submit(31).wait(60)
    command = ["-c", "from producer.cli import main; main()", "results", job.id, "--urls"]
    code = f"import pty, sys; pty.spawn([sys.executable, *{command}])"
    done = run_python("-c", code, environment={**environment, "TERM": "dumb"})
    _, uri, url, *_ = (line.strip() for line in done.stdout.splitlines())
    assert uri.startswith("s3://")
    assert sha256_at(url)
    assert url.startswith(public)


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        (["submit", "1", "--wait", "--urls"], {"AWS_SECRET_ACCESS_KEY": ""}, "set AWS_ACCESS_KEY_ID"),
        (["submit", "1", "--wait", "--urls"], {"SEEDMILL_S3_URL_TTL_S": "0"}, "SEEDMILL_S3_URL_TTL_S='0'"),
        (["results", "nobody", "--urls"], {}, "not found"),
    ],
)
def test_what_cannot_be_signed_is_told_in_one_line_before_anything_is_enqueued(
    quiet: Endpoints, arguments: list[str], changes: dict[str, str], words: str
) -> None:
    done = run_seedmill(*arguments, environment={**quiet.environment(), **changes})
    assert done.returncode == 2
    assert words in one_line(done.stderr)
    with Client(quiet.redis_url) as client:
        assert client.queue().waiting == 0


def test_urls_of_results_that_are_not_waited_for_are_refused() -> None:
    done = run_seedmill("submit", "1", "--urls")
    assert (done.returncode, "add --wait" in done.stderr) == (2, True)
