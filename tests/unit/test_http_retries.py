"""While the clients ask again: the time of callers is kept, forks share nothing, hooks of apps hear nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from producer import AsyncClient, Client, errors, http_retries
from tests.support import run_python
from tests.unit.scripted_api import JOB, SILENCE, Ask, document, problem, scripted
from worker.local.process import free_port

LIMITED = problem("rate-limited", 429, Retry_After="4")


def wait_blocking(url: str, timeout: float) -> Any:
    with Client(url=url) as client:
        return client.get("mine").wait(timeout, check=False)


def wait_async(url: str, timeout: float) -> Any:
    async def run() -> Any:
        async with AsyncClient(url=url) as client:
            return await (await client.get("mine")).wait(timeout, check=False)

    return asyncio.run(run())


def watch_blocking(url: str, timeout: float) -> Any:
    with Client(url=url) as client:
        return list(client.get("mine").watch(timeout))


WAYS = pytest.mark.parametrize("wait", [wait_blocking, wait_async, watch_blocking])


@WAYS
def test_a_rate_limit_keeps_nobody_longer_than_the_timeout(wait: Any) -> None:
    with scripted(document(JOB), LIMITED) as api:
        began = time.monotonic()
        with pytest.raises(errors.JobTimeout, match=r"still queued after 0\.3 s"):
            wait(api.url, 0.3)
        assert 0.3 <= time.monotonic() - began < 5
    assert len(api.asked) == 2  # not asked again earlier than it said


@WAYS
def test_an_api_that_falls_silent_keeps_nobody_much_longer_than_the_timeout(
    wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_retries, "LATE_S", 0.2)
    with scripted(document(JOB), SILENCE) as api:
        began = time.monotonic()
        with pytest.raises(errors.JobTimeout):
            wait(api.url, 0.2)
        assert 0.2 <= time.monotonic() - began < 5


@WAYS
def test_an_answer_that_comes_at_the_last_moment_still_counts(wait: Any) -> None:
    with scripted(document(JOB), document({**JOB, "status": "succeeded"})) as api:
        assert wait(api.url, 0)
    assert len(api.asked) == 2


def test_an_outage_that_outlasts_all_attempts_is_told_before_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_retries, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(http_retries, "JITTER_S", 0.0)
    down = problem("queue-unreachable", 503, "no Redis")
    with scripted(document(JOB), down) as api, pytest.raises(errors.QueueUnreachable, match="no Redis"):
        wait_blocking(api.url, 60)
    assert len(api.asked) == 1 + http_retries.ATTEMPTS


def test_a_job_that_was_never_seen_is_waited_for_no_longer_than_the_timeout(ask: Ask) -> None:
    began = time.monotonic()
    with pytest.raises(errors.QueueUnreachable):
        ask(f"http://127.0.0.1:{free_port()}", "wait", "mine", timeout=0.2)
    assert time.monotonic() - began < 3
    with pytest.raises(errors.SettingsError, match="timeout=-1"):
        ask("http://127.0.0.1:1", "wait", "mine", timeout=-1)


class Keeping(BaseHTTPRequestHandler):
    """Answers with a job, keeps connections open, and notes on which one it was asked."""

    protocol_version = "HTTP/1.1"
    connections: list[int] = []  # noqa: RUF012  # one of each test

    def do_GET(self) -> None:
        self.connections.append(self.client_address[1])
        body = document(JOB).partition(b"\r\n\r\n")[2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@pytest.fixture
def keeping() -> Iterator[tuple[str, list[int]]]:
    """Return the URL of a server that keeps connections open, and the list of those that it was asked on."""
    handler = type("Handler", (Keeping,), {"connections": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.connections  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


FORKING = """
import os, sys
from producer import Client
client = Client(url=sys.argv[1])
client.get("mine")
if child := os.fork():
    _, status = os.waitpid(child, 0)
    client.get("mine")
    sys.exit(status)
client.get("mine")
os._exit(0)
"""


def test_a_forked_process_has_connections_of_its_own(keeping: tuple[str, list[int]]) -> None:
    url, connections = keeping
    done = run_python("-c", FORKING, url)
    assert done.returncode == 0, done.stderr
    parent, child, parent_again = connections
    assert parent == parent_again != child


@pytest.fixture
def told() -> Iterator[list[RetryDetails]]:
    """Return what a hook of the app is told of retries."""
    found: list[RetryDetails] = []

    def hook(details: RetryDetails) -> None:
        found.append(details)

    set_on_retry_hooks([hook])
    yield found
    set_on_retry_hooks(None)


def test_our_retries_are_logged_and_hooks_hear_of_those_of_the_app_alone(
    ask: Ask, told: list[RetryDetails], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_retries, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(http_retries, "JITTER_S", 0.0)
    caplog.set_level(logging.DEBUG, "producer.http_backend")
    for _ in range(2):
        with scripted(problem("queue-unreachable", 503, "no Redis"), document(JOB)) as api:
            ask(api.url, "get", "mine")
    lines = [record.getMessage() for record in caplog.records if record.name == "producer.http_backend"]
    assert lines == ["asking again in 0.0 s: no Redis"] * 2
    assert not told
    for attempt in stamina.retry_context(on=KeyError, attempts=2, wait_initial=0.001, wait_jitter=0):
        with attempt:
            if attempt.num == 1:
                raise KeyError("of the app")
    assert [str(details.caused_by) for details in told] == ["'of the app'"]


def test_retries_are_never_on_standard_output() -> None:
    code = "import structlog, sys; from producer import Client; print(Client(url=sys.argv[1]).get('mine').id)"
    with scripted(problem("queue-unreachable", 503, "no Redis"), document(JOB)) as api:
        done = run_python("-c", code, api.url)
    assert (done.stdout, done.stderr) == ("mine\n", "")
