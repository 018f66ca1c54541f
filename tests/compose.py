"""A Compose project of a test: a clean clone of this checkout, free ports, and nothing left behind.

Its name is its own, so that it never touches another stack; variables of whoever runs the tests are kept out.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from producer import Client, JobStatus
from producer.client import Job
from producer.contract import image_key, metadata_key
from tests.support import ROOT
from worker.local.process import free_port
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

TIMEOUT_S = 300
BUILD_TIMEOUT_S = 1500
PROFILES = ("--profile", "*")
PORTS = ("VALKEY_PORT", "S3_PORT", "API_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "FLOWER_PORT")


def docker(*arguments: str, timeout: float = TIMEOUT_S, check: bool = True) -> str:
    """Run ``docker`` and return what it prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def why_not() -> str:
    """Return why no stack can be run here; "" if one can."""
    if not shutil.which("docker"):
        return "there is no docker command on this machine"
    for arguments, missing in [
        (("info",), "no Docker engine answers"),
        (("compose", "version"), "there is no compose"),
    ]:
        done = subprocess.run(["docker", *arguments], capture_output=True, timeout=60, check=False)
        if done.returncode:
            return f"{missing}: {done.stderr.decode().strip()}"
    return ""


def image_is_there(image: str) -> bool:
    """Whether an image is on this machine, or could be pulled to it."""
    if docker("image", "ls", "--quiet", image):
        return True
    done = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, timeout=600, check=False)
    return done.returncode == 0


@dataclass(frozen=True)
class Project:
    """A Compose project; ``files`` are overlays, ``variables`` those that differ from the defaults."""

    checkout: Path
    name: str
    files: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"

    def compose(self, *arguments: str, timeout: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Run ``docker compose`` on the project; returns output and exit status."""
        chosen = [part for file in ("docker-compose.yml", *self.files) for part in ("--file", file)]
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "DOCKER" in name}
        return subprocess.run(
            ["docker", "compose", "--project-name", self.name, "--progress", "quiet", *chosen, *arguments],
            cwd=self.checkout,
            env={**kept, **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def __call__(self, *arguments: str, timeout: float = TIMEOUT_S) -> str:
        """Run ``docker compose`` on the project, which has to succeed; returns what it prints."""
        done = self.compose(*arguments, timeout=timeout)
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout

    def up(self, *arguments: str) -> None:
        """Start the project and wait until all of it is healthy."""
        done = self.compose("up", "--detach", "--wait", "--wait-timeout", "240", *arguments, timeout=BUILD_TIMEOUT_S)
        assert done.returncode == 0, done.stderr[-4000:] + self("logs", "--tail", "30")

    def containers(self, service: str) -> list[dict[str, Any]]:
        """Return the containers of a service, those that have ended as well."""
        lines = self(*PROFILES, "ps", "--all", "--format", "json", service).splitlines()
        return [json.loads(line) for line in lines]

    def config(self) -> dict[str, Any]:
        """Return the project as Compose understands it."""
        found: dict[str, Any] = json.loads(self(*PROFILES, "config", "--format", "json"))
        return found

    @property
    def endpoints(self) -> Endpoints:
        """Where queue and bucket are, from here."""
        password = self.variables.get("VALKEY_PASSWORD", "")
        return Endpoints(
            f"redis://{f':{password}@' if password else ''}{self.address}:{self.variables['VALKEY_PORT']}/0",
            f"http://{self.address}:{self.variables['S3_PORT']}",
            access_key=self.variables.get("S3_ACCESS_KEY_ID", "seedmill-local"),
            secret_key=self.variables.get("S3_SECRET_ACCESS_KEY", "seedmill-local-secret"),
        )

    @property
    def api_url(self) -> str:
        """Where the HTTP API is, from here."""
        return f"http://{self.address}:{self.variables['API_PORT']}"

    def client(self) -> Client:
        """Return a client on this machine."""
        return Client(self.endpoints.redis_url)

    def check_whole(self, job: Job, seeds: range) -> None:
        """Fail unless each seed has succeeded, once, and its objects are what its result says."""
        store = ObjectStore(self.endpoints.storage())
        results = list(job.results())
        assert (job.status, [result.seed for result in results]) == (JobStatus.SUCCEEDED, list(seeds))
        for result in results:
            png = store.get(image_key(str(result.model_id), result.seed))
            facts = json.loads(store.get(metadata_key(str(result.model_id), result.seed)))
            assert hashlib.sha256(png).hexdigest() == result.sha256 == facts["image"]["sha256"]

    def remains(self) -> str:
        """Return what the engine still has of the project: containers, volumes and networks."""
        mine = f"label=com.docker.compose.project={self.name}"
        return "".join(docker(kind, "ls", *more, "--quiet", "--filter", mine) for kind, *more in KINDS)


KINDS = [("container", "--all"), ("volume",), ("network",)]


def clone(folder: Path) -> Path:
    """Clone this checkout as a newcomer does; what is not committed is not in it."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True, capture_output=True)
    return folder


@contextmanager
def running_project(checkout: Path, **options: Any) -> Iterator[Project]:
    """Yield a project that runs nothing yet; afterwards all of it is taken away, images included."""
    ports = {name: str(free_port()) for name in PORTS}
    project = Project(checkout, f"seedmill-test-{secrets.token_hex(4)}", **options)
    project = replace(project, variables={**ports, **project.variables})
    try:
        yield project
    finally:
        project.compose(*PROFILES, "down", "--volumes", "--remove-orphans", "--timeout", "5")
        built = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{project.name}-*").split()
        if built:
            docker("image", "rm", *built, check=False)
    assert project.remains() == ""


def wait_until_under_way(job: Job, seeds: int = 20, timeout: float = 120) -> None:
    """Wait until some of the job's seeds are done and others are not."""
    end = time.monotonic() + timeout
    while job.refresh().counts.succeeded < seeds:
        assert time.monotonic() < end, job.record
        time.sleep(0.05)
    assert not job.status.is_terminal, "the job was over before anything could happen to it"
