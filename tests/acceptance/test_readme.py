"""The blocks of the README, run as they stand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from producer import Client
from tests.support import ROOT, run_python, run_seedmill
from tests.torture.bench import wait_until
from worker.local.process import Process
from worker.local.stack import Endpoints

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
SEEDMILL_LINES = re.findall(r"^seedmill (.+)$", SHELL, re.MULTILINE)
URL = "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=range(len(PYTHON_BLOCKS)))
def test_every_python_block_runs(
    block: str, endpoints: Endpoints, worker: Process, demo_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(demo_model, tmp_path / "checkpoints")
    script = tmp_path / "block.py"
    script.write_text(block.replace(URL, endpoints.redis_url))
    done = run_python(str(script), environment=endpoints.environment(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_seedmill_line_runs(endpoints: Endpoints, worker: Process) -> None:
    assert len(SEEDMILL_LINES) >= 7
    for line in SEEDMILL_LINES:
        done = run_seedmill(*line.split(), environment=endpoints.environment())
        assert done.returncode == 0, f"{line}: {done.stderr}"
    with Client(endpoints.redis_url) as client:  # what is left over would keep the tests that follow waiting
        wait_until(lambda: client.queue().waiting + client.queue().held == 0, "an empty queue", 30)
