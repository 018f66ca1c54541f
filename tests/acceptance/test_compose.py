"""The stack of containers as a newcomer starts it: a clean clone, docker compose up, and what can befall it then.

Needs a Docker engine with compose and the images, or a registry to pull them from: make test-compose.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from producer import Client, JobStatus
from producer.errors import QueueRefused
from tests.compose import Project, clone, docker, image_is_there, running_project, wait_until_under_way, why_not
from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(1800)]

JOB_TIMEOUT_S = 240
HEALTH_AGE_S = 5
OVERLAYS = ("docker-compose.gpu.yml", "docker-compose.lan.yml", "docker-compose.minio.yml")
LAN = {
    "BIND_ADDRESS": "127.0.0.2" if sys.platform == "linux" else "127.0.0.1",
    "VALKEY_PASSWORD": "Ab1._~!$&'()*+,=@:-",
    "S3_ACCESS_KEY_ID": "my-own-key",
    "S3_SECRET_ACCESS_KEY": "my own $ecret/+",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := why_not():
        pytest.skip(reason)
    return clone(tmp_path_factory.mktemp("stack") / "seedmill")


def need_images(project: Project, *services: str) -> None:
    for service, found in project.config()["services"].items():
        if service in services and "build" not in found and not image_is_there(found["image"]):
            pytest.skip(f"the image {found['image']} is neither here nor can it be pulled")
    if not image_is_there(base := base_image(project.checkout)):
        pytest.skip(f"the image {base} is neither here nor can it be pulled")


def base_image(checkout: Path) -> str:
    (line,) = [
        line for line in (checkout / "worker/Dockerfile").read_text().splitlines() if line.startswith("ARG BASE=")
    ]
    return line.removeprefix("ARG BASE=")


@contextmanager
def started(
    checkout: Path, *arguments: str, need: tuple[str, ...] = ("valkey", "s3"), **options: Any
) -> Iterator[Project]:
    with running_project(checkout, **options) as project:
        need_images(project, *need)
        project.up(*arguments)
        yield project


@pytest.fixture(scope="module")
def stack(checkout: Path) -> Iterator[Project]:
    """The stack as it is without any setting; tests leave it with one worker."""
    with started(checkout) as project:
        yield project


@pytest.fixture
def two_workers(stack: Project) -> Iterator[Project]:
    stack.up("--scale", "worker=2")
    yield stack
    stack.up("--scale", "worker=1")


def fetch_first(project: Project, job_id: str) -> None:
    """Open the picture of a job's first result from here, by a presigned URL."""
    listed = project("run", "--rm", "--no-TTY", "producer", "results", job_id, "--urls", "--json")
    first = json.loads(listed)[0]
    assert first["image_url"].startswith(project.endpoints.s3_url + "/")
    with urlopen(first["image_url"], timeout=30) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == first["sha256"]


def submit(project: Project, *seeds: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        project("run", "--rm", "--no-TTY", "producer", "submit", *seeds, "--wait", "--json", timeout=1500)
    )
    return found


def ask(url: str, **headers: str) -> Any:
    with urlopen(Request(url, headers=headers), timeout=30) as answer:
        return json.load(answer)


def wait_for(condition: Callable[[], bool], what: str, timeout: float = 90) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what} did not come about in {timeout} s"
        time.sleep(0.5)


def status_of(url: str) -> int:
    try:
        with urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def submit_by_http(project: Project, **body: Any) -> Any:
    """Submit a job to the HTTP API, and return it once it has ended."""
    headers = {"Content-Type": "application/json", "Prefer": "wait=60"}
    with urlopen(Request(f"{project.api_url}/v1/jobs", json.dumps(body).encode(), headers), timeout=90) as answer:
        return json.load(answer)


@pytest.mark.parametrize("overlay", ["", *OVERLAYS])
def test_every_file_is_valid_with_every_profile(checkout: Path, overlay: str) -> None:
    project = Project(checkout, "seedmill-test-config", files=(overlay,) if overlay else (), variables=LAN)
    done = project.compose("--profile", "*", "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_of_settings_gives_the_defaults(checkout: Path, tmp_path: Path) -> None:
    other = clone(tmp_path / "seedmill")
    (other / ".env").write_bytes((other / ".env.example").read_bytes())
    plain, copied = (
        json.dumps(Project(folder, "seedmill-test-config").config()).replace(str(folder), "")
        for folder in (checkout, other)
    )
    assert plain == copied


def test_all_that_is_started_is_healthy_and_reached_from_this_machine_alone(stack: Project) -> None:
    for service in ("valkey", "s3", "worker", "api"):
        (container,) = stack.containers(service)
        assert (container["State"], container["Health"]) == ("running", "healthy")
        published = [port for port in container["Publishers"] if port["PublishedPort"]]
        assert len(published) == (0 if service == "worker" else 1)
        assert all(port["URL"] == "127.0.0.1" for port in published)


def test_a_job_of_the_command_line_is_seen_from_this_machine_and_its_pictures_open_here(stack: Project) -> None:
    job = submit(stack, "0..9")
    assert (job["status"], job["counts"]["succeeded"]) == ("succeeded", 10)
    with stack.client() as client:
        stack.check_whole(client.get(job["id"]), range(10))
    fetch_first(stack, job["id"])


def test_the_http_api_takes_a_job_from_this_machine_and_leads_to_its_picture(stack: Project) -> None:
    job = submit_by_http(stack, seeds=[41, 42])
    assert job["status"] == "succeeded"
    (first, _) = ask(stack.api_url + job["urls"]["results"])["data"]
    with urlopen(f"{stack.api_url}/v1/images/41", timeout=30) as answer:  # by a presigned URL
        assert answer.url.startswith(stack.endpoints.s3_url + "/")
        assert hashlib.sha256(answer.read()).hexdigest() == first["sha256"]
    assert ask(f"{stack.api_url}/readyz")["status"] == "ok"
    with pytest.raises(HTTPError, match="421"):  # a page of a stranger, by a name of its own
        ask(f"{stack.api_url}/v1/info", Host="evil.example")
    inside = "import urllib.request as u; print(u.urlopen('http://api:8000/v1/info').read().decode())"
    info = json.loads(stack("exec", "--no-TTY", "worker", "python", "-c", inside))
    assert (info["workers"], info["auth"]) == (1, False)


def test_the_http_api_outlasts_a_valkey_that_goes_and_comes(stack: Project) -> None:
    job = submit_by_http(stack, seed=43)
    stack("stop", "valkey")
    wait_for(lambda: status_of(f"{stack.api_url}/readyz") == 503, "an API that is not ready")
    assert ask(f"{stack.api_url}/healthz") == {"status": "ok"}
    (api,) = stack.containers("api")
    assert (api["State"], api["Health"]) == ("running", "healthy")
    stack.up()
    assert [container["ID"] for container in stack.containers("api")] == [api["ID"]]
    wait_for(lambda: status_of(f"{stack.api_url}/readyz") == 200, "an API that is ready again")
    assert ask(stack.api_url + job["urls"]["self"])["status"] == "succeeded"


def test_a_worker_that_is_killed_loses_nothing(two_workers: Project) -> None:
    with two_workers.client() as client:
        job = client.submit(seeds := range(1000, 1600))
        wait_until_under_way(job)
        docker("kill", "--signal", "KILL", two_workers.containers("worker")[0]["ID"])
        job.wait(JOB_TIMEOUT_S)
        two_workers.check_whole(job, seeds)
        assert client.queue().dead_letters == 0


def test_a_worker_that_is_stopped_finishes_what_it_has_taken(stack: Project) -> None:
    with stack.client() as client:
        job = client.submit(seeds := range(2000, 2600))
        wait_until_under_way(job)
        stack("stop", "worker")
        assert [container["ExitCode"] for container in stack.containers("worker")] == [0]
        assert job.refresh().status is JobStatus.RUNNING
        assert client.queue().held == 0
        stack.up()
        job.wait(JOB_TIMEOUT_S)
        stack.check_whole(job, seeds)
    log = stack("logs", "--no-log-prefix", "worker")
    assert "worker_stopped" in log
    assert "worker_swept" not in log, "what a stopped worker had was taken for that of a dead one"


def test_a_valkey_that_goes_and_comes_forgets_nothing_and_workers_live_on(stack: Project) -> None:
    before = [container["ID"] for container in stack.containers("worker")]
    with stack.client() as client:
        job = client.submit(seeds := range(3000, 3600))
        wait_until_under_way(job)
    stack("restart", "valkey")
    stack("stop", "valkey")
    for _ in range(2 * HEALTH_AGE_S):
        stack("exec", "--no-TTY", "worker", "python", "-m", "worker", "health", "--max-age", str(HEALTH_AGE_S))
        time.sleep(1)
    stack.up()
    assert [container["ID"] for container in stack.containers("worker")] == before
    with stack.client() as client:
        job = client.get(job.id).wait(JOB_TIMEOUT_S)
        stack.check_whole(job, seeds)


def test_jobs_and_pictures_outlast_the_containers(stack: Project) -> None:
    job = submit(stack, "7", "42")
    stack("down")
    assert stack.remains().split() == docker("volume", "ls", "--quiet", "--filter", f"name={stack.name}_").split()
    stack.up()
    with stack.client() as client:
        again = client.get(job["id"])
        assert [(r.seed, r.sha256) for r in again.results()] == [(r["seed"], r["sha256"]) for r in job["results"]]
    fetch_first(stack, job["id"])


def test_a_worker_that_crashes_comes_back(stack: Project) -> None:
    (before,) = stack.containers("worker")
    try:
        os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", before["ID"])), signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        pytest.skip("the processes of the containers are not this machine's")
    wait_for(lambda: docker("inspect", "--format", "{{.RestartCount}}", before["ID"]).strip() == "1", "a new start")
    stack.up()
    assert submit(stack, "5")["status"] == "succeeded"


@pytest.mark.parametrize("after_s", [0.1, 0.5, 1.0, 2.0])
def test_a_worker_that_only_just_starts_can_be_stopped(stack: Project, after_s: float) -> None:
    (worker,) = stack.containers("worker")
    stack("stop", "worker")
    docker("start", worker["ID"])
    time.sleep(after_s)
    docker("stop", "--time", "30", worker["ID"])
    code = docker("inspect", "--format", "{{.State.ExitCode}}", worker["ID"]).strip()
    stack.up()
    assert code in ("0", "143"), "it was killed, since it had not heard"


def test_what_the_store_is_made_of_lets_in_nobody_without_the_key(stack: Project) -> None:
    job = submit(stack, "11")
    (s3,) = stack.containers("s3")
    networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", s3["ID"]))
    (address,) = [network["IPAddress"] for network in networks.values()]
    bucket, key = job["results"][0]["image_uri"].removeprefix("s3://").split("/", 1)
    for port, path in ((8888, f"/buckets/{bucket}/{key}"), (8333, f"/{bucket}/{key}")):
        for method in ("GET", "DELETE", "PUT"):
            request = Request(f"http://{address}:{port}{path}", method=method)
            with pytest.raises(URLError), urlopen(request, timeout=10):  # refused, or nobody listens
                pass
    fetch_first(stack, job["id"])


def test_what_only_its_owner_may_read_is_readable_in_the_image(stack: Project, tmp_path: Path) -> None:
    strict = tmp_path / "seedmill"
    subprocess.run(["sh", "-c", f"umask 077 && git clone --quiet {ROOT} {strict}"], check=True)
    name = f"{stack.name}-strict"
    docker("build", "--quiet", "--file", str(strict / "worker/Dockerfile"), "--tag", name, str(strict), timeout=1500)
    try:
        docker(
            "run",
            "--rm",
            "--read-only",
            "--network",
            "none",
            "--tmpfs",
            "/tmp",
            name,
            "generate",
            "1",
            "--out",
            "/tmp/out",
        )
    finally:
        docker("image", "rm", name, check=False)


@pytest.mark.parametrize("image", ["worker:cpu", "api:local", "producer:local"])
def test_an_image_has_what_it_needs_and_no_more(stack: Project, image: str) -> None:
    stack("build", "producer", timeout=1500)
    name = f"{stack.name}-{image}"
    locked = ("run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", "--tmpfs", "/tmp")
    tools = "for tool in gcc make pip pip3 git; do command -v $tool; done"
    script = f"id -u; {tools}; python -c 'import pip' 2>&1 | tail -1; ls -A"
    uid, missing, *files = docker(*locked, "--entrypoint", "sh", name, "-c", script).split("\n")
    assert (uid, missing) == ("10001", "ModuleNotFoundError: No module named 'pip'")
    assert set(filter(None, files)) <= {"checkpoints", "producer", "worker"}
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", name) + docker("image", "inspect", name)
    assert not re.search("secret|password", history, re.IGNORECASE)
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", name))
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_image_of_the_worker_has_its_bytecode(stack: Project) -> None:
    script = "import worker.app, torch, redis; print(*(m.__cached__ for m in (worker.app, torch, redis)), sep='\\n')"
    paths = docker("run", "--rm", "--entrypoint", "python", f"{stack.name}-worker:cpu", "-c", script).split()
    docker("run", "--rm", "--entrypoint", "ls", f"{stack.name}-worker:cpu", *paths)


def test_the_image_of_the_worker_generates_without_any_stack(stack: Project) -> None:
    locked = ("run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", "--tmpfs", "/tmp")
    found = json.loads(docker(*locked, f"{stack.name}-worker:cpu", "doctor", "--json"))
    assert {check["name"]: check["outcome"] for check in found["checks"]}["generation"] == "pass"


@pytest.mark.parametrize("name", LAN)
def test_the_lan_overlay_demands_what_is_secret(checkout: Path, name: str) -> None:
    project = Project(checkout, "seedmill-test-config", ("docker-compose.lan.yml",), {**LAN, name: ""})
    done = project.compose("config", "--quiet")
    assert done.returncode != 0
    assert f"required variable {name} is missing a value: set it in .env" in done.stderr


def test_the_lan_overlay_lets_in_who_has_the_password(checkout: Path) -> None:
    overlay = ("docker-compose.lan.yml",)
    with started(checkout, files=overlay, variables=LAN, address=LAN["BIND_ADDRESS"]) as project:
        job = submit(project, "0..2")
        with project.client() as client:
            project.check_whole(client.get(job["id"]), range(3))
        fetch_first(project, job["id"])
        with pytest.raises(HTTPError, match="401"):
            ask(f"{project.api_url}/v1/jobs/{job['id']}")
        made = json.loads(project("run", "--rm", "--no-TTY", "producer", "keys", "create", "me", "--json"))
        mine = ask(f"{project.api_url}/v1/jobs", Authorization=f"Bearer {made['key']}")
        assert mine["data"] == [], "a key has the jobs that were submitted with it"
        without = project.endpoints.redis_url.replace(f":{LAN['VALKEY_PASSWORD']}@", "")
        with Client(without) as stranger, pytest.raises(QueueRefused):
            stranger.queue()
        said = "".join(project("logs", service) for service in ("valkey", "s3", "worker"))
        assert LAN["VALKEY_PASSWORD"] not in said
        assert LAN["S3_SECRET_ACCESS_KEY"] not in said


@pytest.mark.parametrize("password", ["with space", "a/b", "-a", "50%25", 'a"b', "a\\b", "a#b", "a;b"])
def test_a_password_that_does_not_fit_into_a_url_is_refused(stack: Project, password: str) -> None:
    done = stack.compose("run", "--rm", "--no-deps", "--no-TTY", "--env", f"REDISCLI_AUTH={password}", "valkey")
    assert done.returncode == 1
    assert "VALKEY_PASSWORD has a character that it may not have" in done.stderr + done.stdout


def test_minio_serves_as_well(checkout: Path) -> None:
    with started(checkout, files=("docker-compose.minio.yml",)) as project:
        job = submit(project, "0..2")
        with project.client() as client:
            project.check_whole(client.get(job["id"]), range(3))
        fetch_first(project, job["id"])
        project.up("--force-recreate")
        fetch_first(project, job["id"])


def test_monitoring_sees_all_workers(checkout: Path) -> None:
    shown = ("worker", "prometheus", "flower")
    with started(checkout, "--scale", "worker=2", *shown, "api", need=("valkey", "s3", "prometheus")) as project:
        submit(project, "0..9")
        prometheus, flower = (
            f"http://127.0.0.1:{project.variables[name]}" for name in ("PROMETHEUS_PORT", "FLOWER_PORT")
        )

        def up() -> list[str]:
            targets = ask(f"{prometheus}/api/v1/targets")["data"]["activeTargets"]
            return [target["scrapeUrl"] for target in targets if target["health"] == "up"]

        wait_for(lambda: len(set(up())) == 3, "two workers and the API as targets")
        query = f"{prometheus}/api/v1/query?query=sum(seedmill_seeds_total)"
        wait_for(lambda: ask(query)["data"]["result"][0]["value"][1] == "10", "ten seeds in Prometheus")
        hosts = {container["ID"][:12] for container in project.containers("worker")}

        def known() -> set[str]:
            with urlopen(f"{flower}/metrics", timeout=30) as answer:
                return set(re.findall(r'flower_worker_online\{worker="\S+@(\w+)"\} 1.0', answer.read().decode()))

        wait_for(lambda: known() == hosts, "both workers in Flower")


def test_grafana_has_the_dashboard_and_lets_nobody_in(checkout: Path) -> None:
    with started(checkout, "prometheus", "grafana", need=("prometheus", "grafana")) as project:
        grafana = f"http://127.0.0.1:{project.variables['GRAFANA_PORT']}"
        assert ask(f"{grafana}/api/health")["database"] == "ok"
        assert [found["title"] for found in ask(f"{grafana}/api/search?type=dash-db")] == ["seedmill"]
        assert ask(f"{grafana}/api/datasources/uid/prometheus/health")["status"] == "OK"
        default = {"Authorization": f"Basic {b64encode(b'admin:admin').decode()}"}
        with pytest.raises(HTTPError, match=r"40[13]"), urlopen(Request(f"{grafana}/api/admin/stats", headers=default)):
            pass
