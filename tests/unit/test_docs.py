"""What the documents say is what the code does."""

from __future__ import annotations

import json
import re

import pytest
import torch

from producer import JobStatus, __version__, errors
from producer.settings import PresignSettings, ProducerSettings, Settings
from tests.benchmarks import api_report, gpu_report, page_report, report, tenants_report
from tests.support import ROOT
from tests.torture import matrix
from tests.torture.stand_in import STAGES
from worker.__main__ import COMMANDS
from worker.model.latents import draw_latents
from worker.settings import WorkerSettings

README = (ROOT / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`)? ?\| (.+) \|$", re.MULTILINE)


def defaults_of(settings: type[Settings]) -> dict[str, str]:
    """Return the variables of a class of settings, and their defaults."""
    return {
        settings.variable(field): "" if info.default is None or info.default_factory else str(info.default)
        for field, info in settings.model_fields.items()
    }


def test_the_settings_table_is_the_settings_of_the_code() -> None:
    rows = [(name, default) for name, default, _ in ROW.findall(README)]
    code = {**defaults_of(WorkerSettings), **defaults_of(PresignSettings)}
    assert len(rows) == len(dict(rows))
    assert dict(rows) == code
    names = [name for name, _ in rows]
    assert set(names[:4]) == defaults_of(ProducerSettings).keys()
    assert set(names[4:12]) == defaults_of(PresignSettings).keys()
    assert set(names[10:12]) == defaults_of(PresignSettings).keys() - defaults_of(WorkerSettings).keys()
    assert "The first four are read by producers" in README
    assert "The next eight are read by those who sign URLs, the\nlast two of these by them alone" in README


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == __version__


def test_the_loss_matrix_is_the_one_that_was_measured_and_nothing_was_lost_in_it() -> None:
    rows = json.loads(matrix.RESULTS.read_text(encoding="utf-8"))["rows"]
    assert matrix.markdown(rows) in README
    assert {row["fault"] for row in rows} >= {f"worker killed: {stage}" for stage in STAGES}
    assert all(row["faults"] >= 30 for row in rows if row["fault"].startswith("worker killed"))
    assert not any(row["lost"] or row["torn"] or row["failed"] for row in rows)


def test_the_throughput_is_what_was_measured_and_none_of_it_is_void() -> None:
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert report.put_into(README, results) == README
    assert results["bars"] == report.bars(results)
    assert set(results["models"]) == set(report.MODELS)
    for measured in results["models"].values():
        assert measured["ratios"] == report.ratios(measured["systems"])
        assert not measured["void"]
        assert set(measured["systems"]) >= {*report.OTHERS, "seedmill lone", "seedmill range", "seedmill-two range"}


def test_what_the_api_bears_is_what_was_measured_and_no_event_was_lost_in_it() -> None:
    results = json.loads(api_report.RESULTS.read_text(encoding="utf-8"))
    assert api_report.put_into(README, results) == README
    assert set(results["phases"]) == set(api_report.PHASES)
    assert not results["quick"]
    assert not api_report.wrong(results)


def test_how_a_tenant_fares_is_what_was_measured() -> None:
    results = json.loads(tenants_report.RESULTS.read_text(encoding="utf-8"))
    assert tenants_report.put_into(README, results) == README
    assert set(results["ways"]) == set(tenants_report.WAYS)


def test_what_a_gpu_does_is_what_was_measured_and_none_of_it_is_void() -> None:
    results = json.loads(gpu_report.RESULTS.read_text(encoding="utf-8"))
    assert gpu_report.put_into(README, results) == README
    assert not results["quick"]
    assert set(results["alone"]) == {"demo fp32", "demo bf16", "large fp32", "large bf16"}
    assert "seedmill range" in results["models"]["demo"]["systems"]
    assert not any(measured["void"] for measured in results["models"].values())
    for fact in (results["card"]["driver"], results["machine"]["versions"]["torch"]):
        assert fact in README


def test_how_the_page_fares_is_what_was_measured_and_within_its_bounds() -> None:
    results = json.loads(page_report.RESULTS.read_text(encoding="utf-8"))
    assert page_report.put_into(README, results) == README
    assert results["from_publication_ms"]["max"] < page_report.MOST_MS
    assert results["bytes"] < page_report.MOST_BYTES
    assert results["lone_seeds"] >= 20
    assert results["gallery"]["pictures"] >= 10_000


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"demo", "up", "test", "check", "build"} <= named <= targets


def test_every_worker_command_that_is_named_exists() -> None:
    assert set(re.findall(r"python -m worker ([a-z]+)", README)) <= set(COMMANDS)


@pytest.mark.parametrize("status", list(JobStatus))
def test_every_status_is_explained(status: JobStatus) -> None:
    assert f"| `{status}` |" in README


@pytest.mark.parametrize("name", re.findall(r"^\| `([A-Z][a-z]\w+)`", README, re.MULTILINE))
def test_every_exception_that_is_named_exists(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.SeedmillError)


def test_every_file_that_is_named_exists() -> None:
    tree = README.split("## Files")[1].split("```")[1]
    folder = ""
    for line in tree.strip().splitlines():
        names = re.findall(r"(?<!\S)(\w[\w.]*(?:\.py|/))(?=\s)", line.split("   ")[0] + " " if line[0] != " " else line)
        if line[0] != " ":
            folder = names[0]
            names = []
        for name in names:
            assert (ROOT / folder / name).exists(), f"{folder}{name}"
        assert (ROOT / folder).is_dir()


def test_no_document_names_one_s3_product_where_it_means_any() -> None:
    for path in [*ROOT.glob("producer/**/*.py"), *ROOT.glob("worker/**/*.py"), ROOT / "README.md"]:
        assert "minio" not in path.read_text(encoding="utf-8").lower(), path


def test_the_test_vectors_of_the_latent_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| ((?:-?\d+\.\d+ ?){8})\|$", README, re.MULTILINE)
    assert [int(seed) for seed, _ in rows] == [0, 42, 4294967295]
    for seed, values in rows:
        wanted = torch.tensor([float(value) for value in values.split()], dtype=torch.float32)
        assert torch.equal(draw_latents([int(seed)], 1024)[0, :8], wanted)
