"""What importing brings in, seen in a fresh interpreter."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

import producer
from tests.support import ROOT, run_python

HEAVY = {
    "torch",
    "boto3",
    "botocore",
    "PIL",
    "worker",
    "celery",
    "kombu",
    "numpy",
    "httpx2",
    "stamina",
    "fastapi",
    "gradio",
}


def modules_after(statement: str) -> set[str]:
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement", ["import producer", "from producer import *", "import producer.cli", "import producer.aio"]
)
def test_the_producing_side_brings_in_nothing_heavy(statement: str) -> None:
    assert not modules_after(statement) & HEAVY


def test_importing_the_package_alone_loads_next_to_nothing() -> None:
    assert not modules_after("import producer") & {"redis", "pydantic", "typer", "rich", "opentelemetry"}


def test_every_public_name_is_there() -> None:
    for name in producer.__all__:
        assert getattr(producer, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        producer.Clinet  # noqa: B018


def test_commands_without_a_model_load_no_torch() -> None:
    assert "torch" not in modules_after("import worker.__main__, worker.commands.demo, worker.commands.local")


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def roots_of(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize(
    ("files", "never"),
    [
        ("producer/**/*.py", {"worker", "torch", "PIL", "celery"}),
        ("producer/*.py", {"fastapi", "starlette", "uvicorn", "producer.api"}),
        ("worker/task.py", {"torch", "boto3"}),
        ("worker/batcher.py", {"torch", "celery", "boto3", "redis"}),
        ("worker/model/*.py", {"celery", "redis", "boto3", "worker.storage", "worker.pipeline"}),
        ("worker/encode.py", {"celery", "redis", "boto3", "socket"}),
        ("worker/storage.py", {"torch", "celery", "redis", "worker.model"}),
        ("worker/s3/*.py", {"torch", "celery", "redis", "boto3", "urllib3", "worker.model", "worker.settings"}),
    ],
)
def test_each_place_knows_only_what_it_should(files: str, never: set[str]) -> None:
    paths = list(ROOT.glob(files))
    assert paths
    for path in paths:
        for name in imports_of(path):
            parts = name.split(".")
            assert not {".".join(parts[: n + 1]) for n in range(len(parts))} & never, f"{path}: {name}"


def test_opentelemetry_is_known_in_three_places_alone() -> None:
    files = [path for side in ("producer", "worker") for path in ROOT.glob(f"{side}/**/*.py")]
    knowing = {path for path in files if any(name.startswith("opentelemetry") for name in imports_of(path))}
    assert knowing == {
        ROOT / name for name in ("producer/tracing.py", "producer/otel.py", "worker/monitoring/spans.py")
    }


def test_of_the_producing_side_three_places_alone_know_boto3() -> None:
    files = [path for path in ROOT.glob("producer/**/*.py") if {"boto3", "botocore"} & roots_of(path)]
    names = ("producer/presign.py", "producer/bucket_listing.py", "producer/api/bucket.py")
    assert set(files) == {ROOT / name for name in names}


def test_the_contract_imports_the_standard_library_alone() -> None:
    assert roots_of(ROOT / "producer/contract.py") <= sys.stdlib_module_names
