"""The benchmark's arithmetic, its tables, its stand-in and its ceiling; and that none of that needs its extras."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import measure, plot, report, systems
from tests.benchmarks.compare import first_near_best, summary
from tests.benchmarks.devices import BANK, CALL_MS, SEED_MS, FastDevice, ModelSpec, spec_of_environment
from tests.benchmarks.systems import loop
from tests.benchmarks.systems.base import Figures
from tests.support import run_python

MEASURED: dict[str, Any] = {
    "seeds": 8,
    "systems": {
        "loop": {"seeds_per_s": 50.0, "worker_cpu_ms": 20.0, "rounds": [50.0, 40.0, 60.0]},
        "celery": {"seeds_per_s": 20.0, "worker_cpu_ms": 40.0, "lone_p50_ms": 41.04, "rounds": [20.0, None, 30.0]},
        "seedmill lone": {"seeds_per_s": 30.0, "lone_overhead_ms": 9.0, "rounds": [30.0, 20.0, 30.0]},
        "seedmill range": {"seeds_per_s": 45.0, "worker_cpu_ms": 25.0, "rounds": [45.0, 40.0, 45.0]},
    },
    "void": [],
}


def results() -> dict[str, Any]:
    measured = {**MEASURED, "ratios": report.ratios(MEASURED["systems"])}
    found: dict[str, Any] = {"models": {"demo": measured}, "million": {"submit_s": 3.0}}
    return {**found, "bars": report.bars(found)}


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    """A stand-in with small pictures."""
    pictures = np.random.default_rng(0).integers(0, 256, (BANK, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "bank.npy", pictures)
    (tmp_path / "bank.json").write_text(json.dumps([f"picture {n}" for n in range(BANK)]))
    return ModelSpec("fast", str(tmp_path))


@pytest.mark.parametrize(("share", "value"), [(0.5, 5), (0.95, 10), (0.9, 9), (0.01, 1), (1, 10)])
def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed(share: float, value: int) -> None:
    assert measure.percentile([10, *range(9, 0, -1)], share) == value


def test_the_median_of_nothing_is_no_number() -> None:
    assert math.isnan(measure.median([]))
    assert measure.median([3, 1, 2]) == 2


def test_ratios_are_medians_of_those_of_each_round_that_both_have() -> None:
    found = report.ratios(MEASURED["systems"])
    assert found["range"] == {"loop": 0.9, "celery": 1.875}
    assert found["lone"] == {"loop": 0.5, "celery": 1.25}
    assert report.ratios({"loop": MEASURED["systems"]["loop"]}) == {}


def test_a_bar_is_met_missed_or_not_measured() -> None:
    bars = {bar["bar"]: bar for bar in results()["bars"]}
    assert bars["demo: one range to the loop"]["met"] is False
    assert bars["demo: one range to Celery"]["met"] is True
    assert bars["demo: lone seed beyond model and encoding, p50 ms"]["met"] is True
    assert bars["a million seeds: submit, s"]["met"] is False
    assert bars["fast: one range to Celery"]["met"] is None
    assert bars["2 ms of round trip: share of speed lost"]["measured"] is None


def test_the_table_has_a_row_for_each_system_and_each_bar() -> None:
    text = report.markdown(results())
    assert "| demo model | Celery, prefork | 20.0 | 41.0 |  | 40.0 |  |  |  | 1.88 |\n" in text
    assert "| demo: one range to the loop | >= 0.95 | 0.9, missed |\n" in text
    lines = [line for line in text.splitlines() if line.startswith("| demo model")]
    assert len(lines) == len(MEASURED["systems"])
    assert {line.count("|") for line in lines} == {len(report.HEAD) + 1}


def test_a_run_that_says_little_says_so() -> None:
    assert report.remarks(results()) == []
    disturbed = {"quick": True, "models": {"demo": {"systems": {"loop": {"others_cpu_share": 0.3}}}}}
    quick, others = report.remarks(disturbed)
    assert "quick run" in quick
    assert "30%" in others


def test_of_choices_that_are_about_as_fast_the_first_is_taken() -> None:
    assert first_near_best([97.0, 90.0, 100.0]) == 0
    assert first_near_best([90.0, 99.0, 100.0]) == 1


def test_the_table_replaces_what_stands_between_its_marks() -> None:
    before, after = f"a\n{report.MARKS[0]}", f"{report.MARKS[1]}b\n"
    assert report.put_into(f"{before}old\n{after}", results()) == f"{before}{report.markdown(results())}{after}"


def test_the_plot_labels_other_systems_with_the_ratio() -> None:
    labels = {name: label for name, _, label in plot.bars_of(results()["models"]["demo"])}
    assert labels["celery"] == "20   (1.88x)"
    assert labels["seedmill range"] == "45"


def test_a_summary_is_the_median_of_the_rounds_and_keeps_the_places_of_void_ones() -> None:
    rounds = [{"celery": Figures(10.0, 1.0, choice="a=1")}, {}, {"celery": Figures(20.0, 2.0, lone_p50_ms=5.0)}]
    (found,) = summary(rounds).values()
    assert found == {
        "seeds_per_s": 15.0,
        "worker_cpu_ms": 1.5,
        "lone_p50_ms": 5.0,
        "choice": "a=1",
        "rounds": [10.0, None, 20.0],
    }


def test_the_stand_in_takes_its_time_and_gives_each_seed_a_picture_of_its_own(spec: ModelSpec) -> None:
    device = spec.load()
    started = time.perf_counter()
    made = device.generate([3, 3 + BANK, 3])
    assert time.perf_counter() - started >= (CALL_MS + 3 * SEED_MS) / 1000
    assert [one.caption for one in made] == ["picture 3"] * 3
    assert np.array_equal(made[0].pixels, made[2].pixels)
    assert not np.array_equal(made[0].pixels, made[1].pixels)
    assert np.array_equal(made[0].pixels[1:], made[1].pixels[1:])


def test_the_stand_in_travels_in_the_environment(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in spec.environment().items():
        monkeypatch.setenv(name, value)
    assert isinstance(spec_of_environment().load(), FastDevice)


@pytest.mark.parametrize("threads", [0, 2])
def test_the_ceiling_makes_every_seed(spec: ModelSpec, tmp_path: Path, threads: int) -> None:
    device = spec.load()
    loop.plain(device, range(20), tmp_path, batch=3, threads=threads)
    loop.check(tmp_path, range(20), {seed: device.generate([seed])[0].pixels for seed in (0, 19)})
    with Image.open(tmp_path / "7.png") as image:
        assert "picture 7" in image.info["parameters"]


def test_cpu_time_and_memory_are_those_of_the_whole_tree() -> None:
    own = [os.getpid()]
    before = measure.cpu_s(own)
    run_python("-c", "sum(range(3_000_000))")
    assert measure.cpu_s(own) > before
    assert measure.peak_mb(own) > 1
    assert own[0] in measure.tree(own)


def test_nothing_but_the_systems_themselves_needs_the_extras() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['litserve', 'celery_batches', 'matplotlib'])); "
    code = "from tests.benchmarks import throughput, systems; [systems.find(name) for name in systems.SYSTEMS]"
    done = run_python("-c", blocked + code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_every_system_says_what_was_chosen_and_why(name: str) -> None:
    kind = systems.find(name)
    assert kind.name == name
    assert kind.choices
