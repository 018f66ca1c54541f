"""What docs/kubernetes.md shows can be built, and asks for what there is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from producer.contract import MAX_CHUNK_SIZE
from tests import monitoring
from tests.kubernetes import build, check, container, environment, only, sources, why_not
from tests.support import ROOT

PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


def blocks() -> list[Any]:
    """Return the YAML of the page."""
    return [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]


def test_the_kustomization_of_the_page_is_built_with_its_images_and_its_bucket(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    (mine,) = [block for block in blocks() if block.get("kind") == "Kustomization"]
    (overlay,) = mine["resources"]
    assert overlay.startswith("../seedmill/")
    (tmp_path / "my").mkdir()
    mine["resources"] = [os.path.relpath(ROOT / overlay.removeprefix("../seedmill/"), tmp_path / "my")]
    (tmp_path / "my/kustomization.yaml").write_text(yaml.safe_dump(mine))
    built = build(tmp_path / "my")
    images = {container(one)["image"] for one in built if one["kind"] == "Deployment"}
    assert images == {f"{image['newName']}:{image['newTag']}" for image in mine["images"]}
    for name in ("seedmill-worker", "seedmill-api"):
        given = environment(built, only(built, "Deployment", name))
        assert (given["SEEDMILL_S3_BUCKET"], given["AWS_REGION"]) == ("my-pictures", "eu-central-1")


def test_the_trigger_of_prometheus_is_one_and_asks_for_what_the_api_tells() -> None:
    (block,) = [block for block in blocks() if "triggers" in block]
    scaled = only((one for _, one in sources()), "ScaledObject", "seedmill-worker")
    scaled["spec"]["triggers"] = block["triggers"]
    check(scaled)
    (asked,) = re.findall(r"\((\w+)\)", block["triggers"][0]["metadata"]["query"])
    assert monitoring.documented(api=True)[asked] == "gauge"


def test_the_alert_of_the_page_asks_for_what_workers_and_the_api_tell() -> None:
    (query,) = re.findall(r"^```promql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    promql.parse(query)
    told = {**monitoring.documented(), **monitoring.documented(api=True)}
    asked = re.findall(r"seedmill_\w+", query)
    assert [told.get(name) for name in asked] == ["gauge", "gauge"]
    (alert,) = [expression for name, expression in monitoring.queries() if name == "alert SeedmillNoWorker"]
    assert query.startswith(alert), "it is that alert, with more asked"


def test_the_page_names_files_and_numbers_as_they_are() -> None:
    for path in re.findall(r"\(\.\./(deploy/kubernetes[^)#]*)\)", PAGE):
        assert (ROOT / path).exists(), path
    assert f"at most {MAX_CHUNK_SIZE:,} seeds" in PAGE
