"""A user's own model, served by a real worker: the class from the README, a checkpoint as training code writes it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest
import torch

from producer import Client
from tests.acceptance.test_readme import PYTHON_BLOCKS
from tests.support import one_line, run_worker_command
from worker.commands.local import model_environment
from worker.local.stack import Endpoints, Stack
from worker.model.latents import draw_latents
from worker.model.tokenizer import build_tokenizer
from worker.settings import WorkerSettings
from worker.storage import ObjectStore

NAME = "model_architecture_large"


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """Write the files as a user would; return the variables that name them."""
    (source,) = [block for block in PYTHON_BLOCKS if "class MultimodalModel" in block]
    path = tmp_path / f"{NAME}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    state = module.MultimodalModel(1024, 1266).state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "best.pt")
    build_tokenizer().save(str(tmp_path / "tokenizer.json"))
    return {
        "SEEDMILL_ARCHITECTURE": f"{NAME}:MultimodalModel",
        "SEEDMILL_CHECKPOINT": str(tmp_path / "best.pt"),
        "SEEDMILL_TOKENIZER": str(tmp_path / "tokenizer.json"),
    }


def test_a_worker_serves_a_users_model_and_publishes_under_its_id(
    stack: Stack, quiet: Endpoints, store: ObjectStore, own: dict[str, str]
) -> None:
    worker = stack.start_worker({**own, "SEEDMILL_REDIS_URL": quiet.redis_url}, wait=False)
    try:
        with Client(quiet.redis_url) as client:
            results = list(client.submit([1, 2, 3]).wait(60).results())
    finally:
        assert worker.stop() == 0
    for result in results:
        assert str(result.model_id).startswith("multimodalmodel-")
        assert len(str(result.caption).split()) <= 12
        png = store.get(f"{result.model_id}/seed_{result.seed:010d}.png")
        assert hashlib.sha256(png).hexdigest() == result.sha256


def test_show_says_what_was_found_and_a_wrong_name_is_refused(own: dict[str, str], tmp_path: Path) -> None:
    done = run_worker_command("checkpoint", "show", own["SEEDMILL_CHECKPOINT"], "--json", environment=own)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["weights"] == "state_dict, prefix 'module.' removed"
    assert facts["architecture"].startswith(f"{NAME}:MultimodalModel@")
    wrong = {**own, "SEEDMILL_ARCHITECTURE": f"{NAME}:Model"}
    done = run_worker_command("generate", "--seed", "1", "--out", str(tmp_path / "out"), environment=wrong)
    assert done.returncode == 1
    assert "has no 'Model'; its modules are MultimodalModel" in one_line(done.stderr + done.stdout)


def test_show_takes_what_the_variables_name_and_the_tokenizer_beside_the_checkpoint(own: dict[str, str]) -> None:
    named = {name: value for name, value in own.items() if name != "SEEDMILL_TOKENIZER"}
    done = run_worker_command("checkpoint", "show", "--json", environment=named)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["checkpoint"], facts["tokenizer"]) == (own["SEEDMILL_CHECKPOINT"], own["SEEDMILL_TOKENIZER"])


def test_commands_in_another_terminal_are_told_of_the_model(
    own: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    told = {**own, "SEEDMILL_PRECISION": "fp32"}
    tokenizer = told.pop("SEEDMILL_TOKENIZER")
    assert model_environment(WorkerSettings.load()) == told  # the one beside the checkpoint needs no name
    elsewhere = str(Path(tokenizer).rename(tmp_path / "words.json"))
    monkeypatch.setenv("SEEDMILL_TOKENIZER", elsewhere)
    assert model_environment(WorkerSettings.load()) == {**told, "SEEDMILL_TOKENIZER": elsewhere}


FAILING = """
        if float(latents[0, 0]) > 1:
            raise ValueError("too bright")
        return pictures"""


def test_seeds_on_which_the_model_fails_are_named_and_the_others_are_saved(own: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.py"
    path.write_text(path.read_text().replace("\n        return pictures", FAILING))
    out = tmp_path / "out"
    done = run_worker_command("generate", "--seeds", "0..9", "--out", str(out), environment=own)
    assert done.returncode == 1
    bad = [seed for seed in range(10) if float(draw_latents([seed], 1024)[0, 0]) > 1]
    assert bad == [6]
    assert f"seed 6 failed: {NAME}:MultimodalModel fails in decode" in done.stderr
    assert "1 seed of 10 failed; the others were saved" in done.stderr
    saved = {entry["seed"] for entry in json.loads((out / "metadata.json").read_text())}
    assert saved == set(range(10)) - {6}
