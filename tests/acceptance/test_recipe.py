"""The recipe of the demo checkpoint runs, goes on where it was left, and what it measured is what ships."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from checkpoints.evaluate import evaluate
from checkpoints.train.data import Pictures
from checkpoints.train.loop import PRESET, Recipe, Run
from tests.support import run_python
from worker.model.checkpoint import load_checkpoint
from worker.model.tokenizer import build_tokenizer

SMALL = Recipe(seed=3, steps=4, batch=4, stride=32, warmup=2)


def pictures() -> Pictures:
    return Pictures(SMALL.seed, SMALL.batch, SMALL.stride, build_tokenizer(), PRESET.text)


def test_a_smoke_run_ends_with_a_checkpoint_that_can_be_evaluated(tmp_path: Path) -> None:
    options = ["--run", str(tmp_path / "run"), "--out", str(tmp_path), "--workers", "0"]
    done = run_python("-m", "checkpoints.train", "--smoke", *options)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert {"picture", "content", "cover", "pose", "caption", "psnr_db", "seconds"} <= set(lines[0])
    assert not load_checkpoint(tmp_path / "best.pt").trained
    figures = evaluate(tmp_path / "best.pt", tmp_path / "tokenizer.json", 2, 4)
    assert figures["distinct_pictures"] == 2
    assert 5 < figures["psnr_db"]["of_the_mean_error"] < 20


def test_a_run_that_is_taken_up_again_ends_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    data = pictures()
    whole, first = Run(tmp_path / "whole", SMALL), Run(tmp_path, SMALL)
    for number in range(4):
        whole.train_step(data[number])
    for number in range(2):
        first.train_step(data[number])
    first.save()
    second = Run(tmp_path, SMALL)
    second.resume()
    for number in range(second.step, 4):
        second.train_step(data[number])
    wanted = whole.network.state_dict()
    for name, tensor in second.network.state_dict().items():
        assert (tensor - wanted[name]).abs().max() < 1e-6, name


def test_a_run_of_another_recipe_is_not_taken_up(tmp_path: Path) -> None:
    Run(tmp_path, SMALL).save()
    other = Run(tmp_path, Recipe(seed=4, steps=4, batch=4, stride=32, warmup=2))
    with pytest.raises(ValueError, match=r"another recipe.*seed"):
        other.resume()


def test_training_brings_the_pictures_nearer_to_the_teachers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run, batch = Run(tmp_path, SMALL), pictures()[0]
    losses = [run.train_step(batch) for _ in range(12)]
    assert losses[-1]["picture"] < 0.8 * losses[0]["picture"]
    assert losses[-1]["caption"] < losses[0]["caption"]


def test_the_published_figures_are_of_the_checkpoint_that_ships_and_meet_the_bars(demo_model: Path) -> None:
    figures = json.loads((demo_model / "evaluation.json").read_text())
    assert figures["checkpoint_sha256"] == hashlib.sha256((demo_model / "best.pt").read_bytes()).hexdigest()
    first, last = figures["seeds"]
    assert last - first + 1 == 500
    assert figures["distinct_pictures"] == 500
    assert figures["caption_grammar_valid"] == figures["caption_5_to_20_words"] == 1
    assert figures["scene_agreement"] >= 0.95
    assert figures["style_agreement"] >= 0.95
    assert figures["psnr_db"]["of_the_mean_error"] >= 20
