"""``seedmill serve`` as it is run, with a real worker: up to the picture, killed while it streams, and told to end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from producer.api.server import REQUESTS_S
from tests.integration.api import read_events
from tests.support import ROOT, clean_environment, one_line, run_python, run_seedmill
from worker.local.process import Process
from worker.local.stack import Endpoints

CODE = "from producer.cli import main; main()"


@contextmanager
def api_process(endpoints: Endpoints, log: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``seedmill serve``, inside; yields the process and its URL."""
    arguments = [sys.executable, "-c", CODE, "serve", "--port", str(port)]
    environment = clean_environment({**endpoints.environment(), "SEEDMILL_CHUNK_SIZE": "2"})
    with log.open("a") as errors:
        process = subprocess.Popen(
            arguments, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            assert "/docs" in greeting, log.read_text()
            yield process, greeting.split("listens on ")[1].split(";")[0]
        finally:
            process.kill()
            process.communicate()


def test_a_seed_becomes_a_picture_that_a_browser_opens(
    worker: Process, endpoints: Endpoints, seeds: Callable[[int], range], tmp_path: Path
) -> None:
    (seed,) = seeds(1)
    with api_process(endpoints, tmp_path / "log") as (_, url), httpx2.Client(base_url=url, timeout=60) as api:
        missing = api.get(f"/v1/images/{seed}")
        assert missing.status_code == 404
        order = missing.json()["enqueue"]
        job = api.request(order["method"], order["href"], json=order["body"], headers={"Prefer": "wait=50"})
        assert (job.status_code, job.json()["status"]) == (200, "succeeded")
        picture = httpx2.get(url + job.json()["urls"]["image"], follow_redirects=True)
        assert picture.content.startswith(b"\x89PNG")
        (result,) = api.get(job.json()["urls"]["results"]).json()["data"]
        assert httpx2.get(result["image_url"]).content == picture.content
        assert httpx2.get(result["metadata_url"]).json()["seed"] == seed
        assert api.get("/readyz").json()["status"] == "ok"
        info = api.get("/v1/info").json()
        assert (info["models"], info["picture"]["width"]) == ([result["model_id"]], result["width"])
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    requests = [line for line in lines if line["action"] == "request"]
    assert {line["route"] for line in requests} >= {"/v1/jobs", "/v1/images/{seed}", "/v1/jobs/{job_id}/results"}
    assert all(line["request_id"] and line["ms"] >= 0 for line in requests)


def test_a_stream_whose_api_is_killed_goes_on_with_another_and_nothing_is_lost_or_doubled(
    worker: Process, endpoints: Endpoints, seeds: Callable[[int], range], tmp_path: Path
) -> None:
    wanted = seeds(40)
    seen: list[tuple[str, object]] = []
    last, port, job = "", 0, "streamed"
    for attempt in range(20):
        with api_process(endpoints, tmp_path / "log", port) as (process, url):
            port = int(url.rpartition(":")[2])
            httpx2.put(f"{url}/v1/jobs/{job}", json={"range": f"{wanted[0]}..{wanted[-1]}"}).raise_for_status()
            ended, events = _listen(process, url, job, last, most=6 if attempt < 3 else 10_000)
        seen += events
        last = seen[-1][0]
        if ended:
            break
    assert [value for _, value in seen if isinstance(value, str)] == ["running", "succeeded"]
    assert sorted(value for _, value in seen if isinstance(value, int)) == list(wanted)
    assert len({event_id for event_id, _ in seen}) == len(seen) == len(wanted) + 2


def _listen(
    process: subprocess.Popen[str], url: str, job: str, last: str, *, most: int
) -> tuple[bool, list[tuple[str, object]]]:
    """Return whether the stream ended by itself, and its events with ids; the API is killed after ``most`` of them."""
    text, killed = "", False
    headers = {"Last-Event-ID": last} if last else {}
    path = f"{url}/v1/jobs/{job}/events"
    broken = suppress(httpx2.RemoteProtocolError, httpx2.ReadError)
    with broken, httpx2.stream("GET", path, headers=headers, timeout=60) as answer:
        for part in answer.iter_text():
            text += part
            if text.count("\nid: ") >= most and not killed:
                process.kill()
                killed = True
    events = [
        (str(one.id), one.data["seed" if one.name == "result" else "status"]) for one in read_events(text) if one.id
    ]
    return not killed, events


def test_an_api_that_is_told_to_end_closes_its_streams_and_ends_soon(endpoints: Endpoints, tmp_path: Path) -> None:
    quiet = Endpoints(endpoints.redis_url.removesuffix("/0") + "/7", endpoints.s3_url)
    with api_process(quiet, tmp_path / "log") as (process, url), httpx2.Client(base_url=url, timeout=30) as api:
        job = api.post("/v1/jobs", json={"seed": 1}).json()
        with api.stream("GET", job["urls"]["events"]) as stream, ThreadPoolExecutor(1) as thread:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 2000"
            waiting = thread.submit(httpx2.get, url + job["urls"]["self"], params={"wait": 60}, timeout=30)
            while "seedmill_api_waiters 2.0" not in api.get("/metrics").text:
                assert not waiting.done()
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert waiting.result().json()["status"] == "queued"
            assert [line for line in lines if line.startswith("event")] == ["event: progress"]
            assert process.wait(20) == 0
            assert time.monotonic() - began < REQUESTS_S, "nothing had to be broken off"
        assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (("--host", "192.0.2.1", "--port", "0"), {}, "192.0.2.1:0 .* cannot be listened on"),
        ((), {"SEEDMILL_API_PORT": "x"}, "SEEDMILL_API_PORT='x'"),
        (("--redis-url", "http://x"), {}, "is not the URL of a Redis"),
    ],
)
def test_what_hinders_the_start_is_told_in_one_line(
    arguments: tuple[str, ...], environment: dict[str, str], words: str
) -> None:
    done = run_seedmill("serve", *arguments, environment=environment)
    assert done.returncode == 2
    assert re.search(words, one_line(done.stderr))


STUCK = """
import os, signal, threading, time
from producer.api import body, server
from producer.api.settings import ApiSettings

server.GRACE_S = 1
body.THREADS.submit(time.sleep, 60)
threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
server.serve(ApiSettings.load(api_port=0))
"""


def test_a_process_that_is_told_to_end_does_although_a_thread_does_not(endpoints: Endpoints) -> None:
    began = time.monotonic()
    done = run_python("-c", STUCK, environment=endpoints.environment())
    assert (done.returncode, time.monotonic() - began < 20) == (1, True)
    assert "broken_off" in done.stderr
