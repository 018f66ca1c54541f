"""The recipe of the demo checkpoint runs, goes on where it was left, and what it measured is what ships."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from checkpoints.evaluate import attributes_of, evaluate, psnr_db
from checkpoints.train.data import Pictures, captions_of
from checkpoints.train.loop import PRESET, Recipe, Run, parts, train
from checkpoints.train.renderer import Renderer
from tests.support import run_python
from worker.model.checkpoint import load_checkpoint
from worker.model.engine import Engine
from worker.model.tokenizer import build_tokenizer

SMALL = Recipe(seed=3, steps=4, batch=4, stride=32, warmup=2)


def pictures() -> Pictures:
    return Pictures(SMALL.seed, SMALL.batch, SMALL.stride, build_tokenizer(), PRESET.text)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_figures_after_a_run_was_taken_up_are_means_of_the_steps_since(tmp_path: Path) -> None:
    recipe = replace(SMALL, steps=8)
    whole, first = Run(tmp_path / "whole", recipe), Run(tmp_path, replace(recipe, steps=5))
    reports: dict[int, float] = {}

    def note(step: int, figures: Mapping[str, float]) -> None:
        reports[step] = figures["picture"]

    def go(run: Run) -> dict[int, float]:
        reports.clear()
        run.folder.mkdir(exist_ok=True)
        train(run, workers=0, save_every_s=1e9, report=note, report_every=4)
        return dict(reports)

    uninterrupted = go(whole)
    go(first)
    second = Run(tmp_path, recipe)
    second.resume()
    resumed = go(second)
    assert set(uninterrupted) == {4, 8}
    assert 0.7 < resumed[8] / uninterrupted[8] < 1.3, "the mean of three steps, and not three of four"
    assert resumed[8] != uninterrupted[8]


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
    assert figures["psnr_db"]["of_the_mean_error"] >= 22


def test_some_of_the_published_figures_come_out_again(demo_model: Path) -> None:
    figures = json.loads((demo_model / "evaluation.json").read_text())
    network = load_checkpoint(demo_model / "best.pt").build()
    seeds = list(range(figures["seeds"][0], figures["seeds"][0] + 12))
    generated = Engine(demo_model / "best.pt", demo_model / "tokenizer.json", device="cpu").generate(seeds)
    attributes = attributes_of(seeds, parts(network)[0])
    assert [one.caption for one in generated] == captions_of(attributes)
    pictures = torch.stack([torch.from_numpy(one.pixels) for one in generated]).permute(0, 3, 1, 2) / 255
    errors = (pictures - Renderer().pictures(attributes)).square().mean(dim=(1, 2, 3))
    assert abs(psnr_db(errors.mean().item()) - figures["psnr_db"]["of_the_mean_error"]) < 2
    assert psnr_db(errors.max().item()) >= figures["psnr_db"]["worst_picture"]
