"""Small real parts for tests: a tiny model, files of it, and commands run as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from producer import records
from producer.contract import Priority
from producer.message import ChunkMessage
from producer.settings import PREFIX
from worker.model.checkpoint import save_checkpoint
from worker.model.config import ModelConfig, PictureConfig, TextConfig
from worker.model.network import SeedNetwork, initialize
from worker.model.tokenizer import build_tokenizer
from worker.storage import ObjectStore

ROOT = Path(__file__).resolve().parent.parent

TINY = ModelConfig(
    name="tiny",
    latent_dim=32,
    picture=PictureConfig(start=4, stem=4, channels=(8, 8), blocks=(1, 1), shuffle=2, style=8, frequencies=1),
    text=TextConfig(width=16, layers=1, heads=2, prefix=1),
)
"""A model of 16x16 pictures that loads and generates in milliseconds."""


def messages_of(job_id: str, seeds: Sequence[int], chunk_size: int, priority: Priority) -> list[ChunkMessage]:
    """Return the messages of a job that has these seeds, in order."""
    numbers = range(records.count_chunks(seeds, chunk_size))
    return [records.message_of(job_id, seeds, n, chunk_size=chunk_size, priority=priority) for n in numbers]


def write_model(folder: Path, config: ModelConfig = TINY, *, seed: int = 0) -> Path:
    """Write best.pt and tokenizer.json with random weights; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    network = SeedNetwork(config)
    initialize(network, seed)
    save_checkpoint(folder / "best.pt", network, trained=False)
    build_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def model_variables(folder: Path) -> dict[str, str]:
    """Return the variables that name the best.pt and the tokenizer.json in a folder."""
    return {
        "SEEDMILL_CHECKPOINT": str(folder / "best.pt"),
        "SEEDMILL_TOKENIZER": str(folder / "tokenizer.json"),
    }


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings of ours, plus ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "AWS_"))}
    return {**kept, **(extra or {})}


def run_python(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float = 120,
    cwd: Path = ROOT,
    stdout: IO[str] | int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with ``arguments``; returns output and exit status."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=clean_environment(environment),
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
        cwd=cwd,
        check=False,
    )


def run_worker_command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``python -m worker`` with ``arguments``."""
    return run_python("-m", "worker", *arguments, **options)  # type: ignore[arg-type]


def run_seedmill(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the ``seedmill`` command with ``arguments``."""
    code = "from producer.cli import main; main()"
    return run_python("-c", code, *arguments, **options)  # type: ignore[arg-type]


def delete_object(store: ObjectStore, key: str) -> None:
    """Remove an object, which nothing in the product does."""
    store._s3.delete_object(Bucket=store.settings.s3_bucket, Key=store.settings.s3_prefix + key)


def one_line(text: str) -> str:
    """Return the only line of an error message, failing the test if there are more, or a traceback."""
    lines: Sequence[str] = [line for line in text.strip().splitlines() if line]
    assert "Traceback" not in text, text
    assert len(lines) == 1, text
    return lines[0]
