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
from tests.kubernetes import Manifest, build, check, container, environment, only, sources, why_not
from tests.support import ROOT

PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


def blocks() -> list[Any]:
    """Return the YAML of the page."""
    return [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]


def mine() -> list[dict[str, Any]]:
    """Return the kustomizations of the page: the first, and that of a second model."""
    return [block for block in blocks() if block.get("kind") == "Kustomization"]


def write(folder: Path, kustomization: dict[str, Any]) -> None:
    """Write a kustomization as the page has it; the checkout is where it is."""
    folder.mkdir()
    found = [os.path.relpath(ROOT / one.removeprefix("../seedmill/"), folder) if "seedmill" in one else one
             for one in kustomization["resources"]]  # fmt: skip
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**kustomization, "resources": found}))


@pytest.fixture
def my(tmp_path: Path) -> Path:
    """The folder of a user, with the first kustomization of the page."""
    if reason := why_not():
        pytest.skip(reason)
    write(tmp_path / "my", mine()[0])
    return tmp_path / "my"


def test_the_kustomization_of_the_page_is_built_with_its_images_and_its_bucket(my: Path) -> None:
    built = build(my)
    images = {container(one)["image"] for one in built if one["kind"] == "Deployment"}
    assert images == {f"{image['newName']}:{image['newTag']}" for image in mine()[0]["images"]}
    for name in ("seedmill-worker", "seedmill-api"):
        given = environment(built, only(built, "Deployment", name))
        assert (given["SEEDMILL_S3_BUCKET"], given["AWS_REGION"]) == ("my-pictures", "eu-central-1")


def test_another_namespace_and_another_queue_are_what_keda_asks_for(my: Path, tmp_path: Path) -> None:
    (more,) = [block for block in blocks() if "namespace" in block]
    first = mine()[0]
    queue = {"name": "seedmill-worker", "namespace": "seedmill", "behavior": "merge", "literals": ["SEEDMILL_QUEUE=v2"]}
    write(tmp_path / "other", {**first, **more, "configMapGenerator": [*first["configMapGenerator"], queue]})
    built = build(tmp_path / "other")
    assert {one["metadata"]["namespace"] for one in built} == {"other"}
    for trigger in only(built, "ScaledObject", "seedmill-worker")["spec"]["triggers"]:
        assert trigger["metadata"]["url"] == "http://seedmill-api.other.svc/v1/status"
        assert trigger["metadata"]["valueLocation"].startswith("queues.v2.")


def test_a_second_model_has_workers_of_its_own_in_a_queue_of_its_own(my: Path, tmp_path: Path) -> None:
    write(tmp_path / "my-v2", mine()[1])
    first, second = build(my), build(tmp_path / "my-v2")
    for manifest in second:
        check(manifest)

    def names(built: tuple[Manifest, ...]) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in built}

    assert not names(first) & names(second), "neither replaces what is the other's"
    assert not any(name.startswith("seedmill-api") for _, name in names(second))
    old, new = only(first, "Deployment", "seedmill-worker"), only(second, "Deployment", "seedmill-worker-v2")
    of_old, of_new = environment(first, old), environment(second, new)
    changed = {"SEEDMILL_QUEUE": "v2", "SEEDMILL_CHECKPOINT": "s3://models/v2/best.pt"}
    assert of_new == {**of_old, **changed}
    scaled = only(second, "ScaledObject", "seedmill-worker-v2")["spec"]
    assert scaled["scaleTargetRef"]["name"] == new["metadata"]["name"]
    for trigger in scaled["triggers"]:
        assert trigger["metadata"]["valueLocation"].startswith("queues.v2.")
        assert trigger["metadata"]["url"] == "http://seedmill-api.seedmill.svc/v1/status"
        only(first, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    budget = only(second, "PodDisruptionBudget", "seedmill-worker-v2")
    for selecting, own, foreign in ((old, old, new), (new, new, old), (budget, new, old)):
        selector = selecting["spec"]["selector"]["matchLabels"].items()
        assert selector <= own["spec"]["template"]["metadata"]["labels"].items()
        assert not selector <= foreign["spec"]["template"]["metadata"]["labels"].items()


def test_the_commands_of_the_page_run_in_the_checkout() -> None:
    commands = [line.split() for text in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
                for line in text.splitlines()]  # fmt: skip
    paths = [word for words in commands if words[0] in ("cp", "mkdir") for word in words[1:] if word[0] != "-"]
    paths += [words[place + 1] for words in commands for place, word in enumerate(words)
              if word in ("--filename", "--kustomize")]  # fmt: skip
    assert len(paths) >= 5
    for path in paths:
        assert (ROOT / path).exists() if not path.startswith("..") else path.startswith("../my"), path


def test_every_port_of_the_services_is_let_out_or_named_as_one_to_add() -> None:
    policy = only((one for _, one in sources()), "NetworkPolicy", "seedmill")
    let_out = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    services = (ROOT / "docs/services.md").read_text(encoding="utf-8")
    used = {int(port) for port in re.findall(r"[a-z0-9]:(\d{4,5})\b", services)}
    assert used >= {6379, 6380, 26379, 6378, 10000, 9000}
    (told,) = re.findall(r"of those in \[services\.md\].*?\.\n", PAGE, re.DOTALL)
    named = {int(number) for number in re.findall(r"\b\d{4,5}\b", told)}
    assert named == used - let_out


def test_the_version_of_keda_that_is_needed_is_the_same_everywhere() -> None:
    component = (ROOT / "deploy/kubernetes/components/keda/kustomization.yaml").read_text(encoding="utf-8")
    asked = re.findall(r"KEDA(?:\]\(https://keda\.sh\))? (\S+) or newer", PAGE + component)
    assert asked == ["2.20.1", "2.20.1"], "#7838, which needs several triggers and a fallback"


def test_the_trigger_of_prometheus_is_one_and_asks_for_what_the_api_tells() -> None:
    (block,) = [block for block in blocks() if "triggers" in block]
    scaled = only((one for _, one in sources()), "ScaledObject", "seedmill-worker")
    scaled["spec"]["triggers"] = block["triggers"]
    check(scaled)
    (trigger,) = block["triggers"]
    query = trigger["metadata"]["query"]
    promql.parse(query)
    (asked,) = re.findall(r"\((\w+){queue=\"default\"}\) >= 0$", query)
    assert monitoring.documented(api=True)[asked] == "gauge"
    assert trigger["metadata"]["ignoreNullValues"] == "false", "or no answer would be an idle queue"


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
