"""What deploy/kubernetes/ makes, read as ``kubectl kustomize`` builds it, and the schemas that it has to keep to."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.support import ROOT

FOLDER = ROOT / "deploy/kubernetes"
OVERLAYS = ("cpu", "gpu")
SCHEMAS = Path(__file__).with_name("schemas")
KUBERNETES = "1.37"

Manifest = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    """Return the documents of a YAML file."""
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def sources() -> Iterator[tuple[Path, Manifest]]:
    """Yield every manifest that is written down, patches and kustomizations left out."""
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name != "kustomization.yaml" and "overlays" not in path.parts:
            for manifest in documents(path):
                yield path, manifest


def why_not() -> str:
    """Return why nothing can be built here; "" if it can."""
    return "" if shutil.which("kubectl") else "there is no kubectl on this machine"


@functools.cache
def build(folder: Path) -> tuple[Manifest, ...]:
    """Return what ``kubectl kustomize`` makes of a folder, without asking any cluster."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)],
        env={**os.environ, "KUBECONFIG": os.devnull},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def only(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """Return the manifest of that kind and name."""
    (found,) = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pod(deployment: Manifest) -> dict[str, Any]:
    """Return what the pods of a Deployment are."""
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def container(deployment: Manifest) -> dict[str, Any]:
    """Return the only container of these pods."""
    (found,) = pod(deployment)["containers"]
    return dict(found)


def environment(built: tuple[Manifest, ...], deployment: Manifest) -> dict[str, str]:
    """Return the variables that a container gets of ConfigMaps."""
    maps = {one["metadata"]["name"]: one["data"] for one in built if one["kind"] == "ConfigMap"}
    named = [source["configMapRef"]["name"] for source in container(deployment)["envFrom"] if "configMapRef" in source]
    return {name: value for source in named for name, value in maps[source].items()}


def check(manifest: Manifest) -> None:
    """Refuse what the API server would: by KEDA's schema what is KEDA's, by Kubernetes' own the rest."""
    if manifest["apiVersion"].startswith("keda.sh/"):
        jsonschema.Draft202012Validator(keda_schema(manifest["kind"])).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@functools.cache
def keda_schema(kind: str) -> Mapping[str, Any]:
    """Return KEDA's schema of a kind, which refuses fields that it does not have."""
    (schema,) = [
        version["schema"]["openAPIV3Schema"]
        for path in SCHEMAS.glob("keda.sh_*.yaml")
        for crd in documents(path)
        if crd["spec"]["names"]["kind"] == kind
        for version in crd["spec"]["versions"]
    ]
    closed: Mapping[str, Any] = _closed(schema)
    return closed


def _closed(schema: Any) -> Any:
    """Refuse unknown fields, as ``kubectl`` does with structural schemas; ``metadata`` is known to the server alone."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "properties" not in schema:
        return {key: _closed(value) for key, value in schema.items()}
    properties = {name: _closed(one) for name, one in schema["properties"].items()}
    if "apiVersion" in properties and "spec" in properties:
        metadata: dict[str, Any] = {name: {} for name in ("name", "namespace", "labels", "annotations")}
        properties["metadata"] = {"type": "object", "properties": metadata, "additionalProperties": False}
    rest = {key: _closed(value) for key, value in schema.items() if key != "properties"}
    return {"additionalProperties": False, **rest, "properties": properties}
