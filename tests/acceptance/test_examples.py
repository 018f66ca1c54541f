"""The programs in examples/, and the lines with curl in the documents, run as they stand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from producer import Client
from tests.support import ROOT, clean_environment, run_python, run_seedmill
from tests.torture.bench import wait_until
from worker.local.process import Process, free_port
from worker.local.stack import Endpoints

EXAMPLES = ROOT / "examples"
URL = "http://127.0.0.1:8000"
PAGES = [ROOT / "README.md", ROOT / "docs/api.md"]

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")


def run(*command: str, api: str, cwd: Path) -> str:
    """Run a program of the examples; returns what it prints."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment({"SEEDMILL_API_URL": api}),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        return image.size == (256, 256)


@needs_curl
def test_curl_submits_waits_fetches_and_follows(api: str, tmp_path: Path) -> None:
    shown = run("sh", str(EXAMPLES / "curl.sh"), "51", "51.png", api=api, cwd=tmp_path)
    assert is_picture(tmp_path / "51.png")
    job = json.loads(next(line for line in shown.splitlines() if line.startswith("{")))
    assert (job["status"], job["counts"]["succeeded"]) == ("succeeded", 1)
    assert shown.count("event: result") == 10
    results = json.loads(shown.splitlines()[-1])
    assert [one["seed"] for one in results["data"]] == [100, 101, 102]


@needs_node
def test_node_follows_events_and_saves_a_picture(api: str, tmp_path: Path) -> None:
    shown = run("node", str(EXAMPLES / "node.mjs"), "200..209", "200.png", api=api, cwd=tmp_path).splitlines()
    assert is_picture(tmp_path / "200.png")
    assert sorted(line.split()[0] for line in shown if " succeeded " in line) == [str(seed) for seed in range(200, 210)]
    assert shown[-2].endswith(" succeeded")


@needs_node
def test_node_tells_what_a_problem_is(api: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"Not a seed: .*5\.\.1"):
        run("node", str(EXAMPLES / "node.mjs"), "5..1", api=api, cwd=tmp_path)


def test_the_python_client_waits_and_saves_a_picture(api: str, tmp_path: Path) -> None:
    shown = run(sys.executable, str(EXAMPLES / "python_client.py"), "52", "52.png", api=api, cwd=tmp_path)
    assert is_picture(tmp_path / "52.png")
    assert [line.split()[0] for line in shown.splitlines()] == ["52", "52.png", *map(str, range(100, 110))]


def test_another_celery_app_sends_and_looks_after_its_task(endpoints: Endpoints, worker: Process) -> None:
    environment = {"SEEDMILL_REDIS_URL": endpoints.redis_url}
    done = run_python(str(EXAMPLES / "celery_app.py"), "53", "54", environment=environment)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["53", "succeeded"], ["54", "succeeded"]]


def test_a_webhook_is_received_and_found_genuine(api: str, endpoints: Endpoints, tmp_path: Path) -> None:
    told = run_seedmill("webhooks", "secret", environment=endpoints.environment())
    assert told.returncode == 0, told.stderr
    port = free_port()
    receiver = Process(
        "the receiver",
        [sys.executable, str(EXAMPLES / "webhook_receiver.py"), str(port)],
        log=tmp_path / "receiver.log",
        environment={"SEEDMILL_WEBHOOK_SECRET": told.stdout.strip()},
    )
    try:
        receiver.wait_ready(lambda: "listening" in receiver.output(), timeout_s=20)
        with Client(url=api) as client:
            job = client.submit([55, 56], webhook=f"http://127.0.0.1:{port}/").wait(timeout=60)
        wait_until(lambda: f"job.completed {job.id}" in receiver.output(), "the webhook", 20)
    finally:
        receiver.stop()
    assert "'succeeded': 2" in receiver.output()


@needs_curl
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_line_with_curl_in_the_documents_runs(page: Path, api: str, tmp_path: Path) -> None:
    blocks = "".join(re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    lines = re.findall(r"^curl .+$", blocks, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        job = f"{page.stem.lower()}-" + r"\g<0>"
        own = re.sub(r"(?<=/v1/jobs/)\w[\w-]*", job, line.replace(URL, api))  # each page has jobs of its own
        done = subprocess.run(
            ["sh", "-c", f"{own} --fail-with-body"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout} {done.stderr}"
    assert is_picture(tmp_path / "42.png")
