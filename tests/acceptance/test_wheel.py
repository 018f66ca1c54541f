"""The wheel: the producing side alone, working in an empty environment."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from producer import __version__
from tests.support import ROOT, clean_environment
from worker.local.process import free_port
from worker.local.stack import Endpoints

HEAVY = ("torch", "boto3", "PIL", "celery", "worker")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new virtual environment that has the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    command = [
        str(folder / "bin/python"),
        *("-m", "pip", "install", "--quiet", "--no-compile"),
        *("--constraint", str(ROOT / "requirements/constraints.txt"), str(wheel)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "bin"


def run(programs: Path, name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(programs / name), *arguments]
    return subprocess.run(command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_producer_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    assert roots == {"producer", f"seedmill-{__version__}.dist-info"}
    assert "producer/scripts/create_job.lua" in names
    assert "producer/py.typed" in names
    page = ROOT / "producer/api/page"
    files = {path.relative_to(ROOT).as_posix() for path in page.rglob("*.*")}
    assert {name for name in names if name.startswith("producer/api/page/")} == files
    kinds = {name.rpartition(".")[2] for name in names if name.startswith("producer/") and name not in files}
    assert kinds == {"py", "lua", "typed"}


def test_what_it_needs_is_light(programs: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util, json, producer; producer.Client\n"
        f"print(json.dumps([name for name in {HEAVY!r} if importlib.util.find_spec(name)]))"
    )
    done = run(programs, "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_command_works_from_an_empty_environment(programs: Path, quiet: Endpoints, tmp_path: Path) -> None:
    assert run(programs, "seedmill", "--version", cwd=tmp_path).stdout.strip() == f"seedmill {__version__}"
    url = ["--redis-url", quiet.redis_url]
    submitted = run(programs, "seedmill", "submit", "0..99", "--json", *url, cwd=tmp_path)
    job = json.loads(submitted.stdout)
    assert (job["status"], job["counts"]["total"]) == ("queued", 100)
    shown = run(programs, "seedmill", "status", job["id"], *url, cwd=tmp_path)
    assert "100 queued of 100 seeds" in shown.stdout
    away = run(programs, "seedmill", "queue", "--redis-url", f"redis://127.0.0.1:{free_port()}/0", cwd=tmp_path)
    assert away.returncode == 3
