"""A worker that cannot serve says why in one line, and ends with a status that is not zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from producer import Client
from tests.support import run_worker_command
from worker.local.process import free_port
from worker.local.stack import Endpoints


def damaged(folder: Path) -> Path:
    (folder / "best.pt").write_bytes(b"not a checkpoint")
    return folder / "best.pt"


def of_another_kind(folder: Path) -> Path:
    torch.save({"format": "seedmill-checkpoint/1", "architecture": "somebody.else/3"}, folder / "best.pt")
    return folder / "best.pt"


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "missing checkpoint": ({"SEEDMILL_CHECKPOINT": "nowhere/best.pt"}, "nowhere/best.pt: cannot be read"),
    "missing tokenizer": ({"SEEDMILL_TOKENIZER": "nowhere.json"}, "nowhere.json: cannot be read"),
    "damaged checkpoint": ({"SEEDMILL_CHECKPOINT": damaged}, "damaged"),
    "other architecture": ({"SEEDMILL_CHECKPOINT": of_another_kind}, "somebody.else/3"),
    "no redis": ({"SEEDMILL_REDIS_URL": "redis://:hush@127.0.0.1:{port}/0"}, "does not answer"),
    "no s3": ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:{port}"}, "cannot be reached"),
    "wrong keys": ({"AWS_SECRET_ACCESS_KEY": "hush"}, "refused the keys"),
    "missing bucket": (
        {"SEEDMILL_S3_BUCKET": "nobody-made-it", "SEEDMILL_S3_CREATE_BUCKET": "false"},
        "does not exist",
    ),
    "bad setting": ({"SEEDMILL_MAX_BATCH": "many"}, "SEEDMILL_MAX_BATCH='many'"),
    "no such device": ({"SEEDMILL_DEVICE": "cuda:77"}, "cuda:77"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told_in_one_line(
    case: str, quiet: Endpoints, model_environment: dict[str, str], tmp_path: Path
) -> None:
    changes, words = CASES[case]
    environment = {**quiet.environment(), **model_environment, "SEEDMILL_LOG_LEVEL": "error"}
    for name, value in changes.items():
        environment[name] = str(value(tmp_path)) if callable(value) else value.format(port=free_port())
    done = run_worker_command("run", environment=environment)
    assert done.returncode in (1, 2, 3)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("python -m worker run: ")
    assert words in last
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


def test_a_traceback_is_there_for_those_who_ask(quiet: Endpoints, model_environment: dict[str, str]) -> None:
    environment = {**quiet.environment(), **model_environment, "SEEDMILL_CHECKPOINT": "nowhere.pt"}
    assert "Traceback" in run_worker_command("run", "--debug", environment=environment).stderr


def test_a_worker_that_cannot_load_its_model_takes_no_message(
    quiet: Endpoints, model_environment: dict[str, str]
) -> None:
    environment = {**quiet.environment(), **model_environment, "SEEDMILL_CHECKPOINT": "nowhere.pt"}
    with Client(quiet.redis_url) as client:
        client.submit(1)
        assert run_worker_command("run", environment=environment).returncode == 1
        assert (client.queue().waiting, client.queue().held, client.queue().workers) == (1, 0, ())
