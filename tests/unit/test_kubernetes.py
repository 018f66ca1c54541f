"""The manifests in deploy/kubernetes/ are valid, and what they say of the code is so."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml
from starlette.applications import Starlette
from starlette.testclient import TestClient

from producer.api.access_settings import AccessSettings
from producer.api.host_check import HostCheck
from producer.api.operator_schemas import QueueFigures
from producer.api.server import GRACE_S
from producer.api.settings import ApiSettings
from producer.keys import Scope
from producer.settings import Settings
from tests.kubernetes import (
    FOLDER,
    OVERLAYS,
    Manifest,
    build,
    check,
    container,
    documents,
    environment,
    only,
    pod,
    sources,
    why_not,
)
from tests.support import ROOT, run_worker_command
from worker.commands.health import VARIABLE
from worker.monitoring.heartbeat import State
from worker.settings import WorkerSettings

GIVE_BACK_S = 15
"""Seconds beyond the drain that README.md asks for between SIGTERM and SIGKILL."""
PARTS: dict[str, type[Settings]] = {"seedmill-worker": WorkerSettings, "seedmill-api": ApiSettings}
WRITTEN = [(f"{path.relative_to(FOLDER)}: {one['kind']} {one['metadata']['name']}", one) for path, one in sources()]


@pytest.fixture(params=OVERLAYS)
def built(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    """What an overlay makes."""
    if reason := why_not():
        pytest.skip(reason)
    return build(FOLDER / "overlays" / request.param)


def variables(settings: type[Settings]) -> set[str]:
    """Return the variables that a class of settings reads."""
    return {settings.variable(field) for field in settings.model_fields}


def deployments() -> list[Manifest]:
    return [one for _, one in WRITTEN if one["kind"] == "Deployment"]


@pytest.mark.parametrize(("name", "manifest"), WRITTEN, ids=[name for name, _ in WRITTEN])
def test_each_manifest_is_valid(name: str, manifest: Manifest) -> None:
    check(manifest)


def test_each_manifest_that_is_built_is_valid_and_of_one_namespace(built: tuple[Manifest, ...]) -> None:
    for manifest in built:
        check(manifest)
    assert {one["metadata"]["namespace"] for one in built} == {"seedmill"}
    kinds = {one["kind"] for one in built}
    assert kinds >= {"Deployment", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "ScaledObject", "Service"}
    assert "Secret" not in kinds, "real ones are made elsewhere"


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ScaledObject", ("spec", "cooldown"), 300),
        ("ScaledObject", ("spec", "pollingInterval"), "15"),
        ("ScaledObject", ("spec", "fallback", "behavior"), "shrug"),
        ("ScaledObject", ("metadata", "label"), {}),
        ("TriggerAuthentication", ("spec", "secretRef"), []),
        ("Deployment", ("spec", "replica"), 2),
        ("NetworkPolicy", ("spec", "policyTypes"), "Ingress"),
    ],
)
def test_what_a_cluster_would_refuse_is_refused(kind: str, path: tuple[str, ...], value: Any) -> None:
    manifest = copy.deepcopy(next(one for _, one in WRITTEN if one["kind"] == kind))
    place = manifest
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(manifest)


def test_every_variable_is_a_setting_of_who_gets_it_and_has_a_value_that_it_may_have(
    built: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, settings in PARTS.items():
        given = environment(built, only(built, "Deployment", name))
        assert given.keys() <= variables(settings)
        with monkeypatch.context() as scoped:
            for variable, value in given.items():
                scoped.setenv(variable, value)
            settings.load()


@pytest.mark.parametrize(
    ("file", "readers"),
    [("worker", [WorkerSettings]), ("api", [ApiSettings]), ("shared", [WorkerSettings, ApiSettings])],
)
def test_what_is_commented_out_is_a_setting_as_well(
    file: str, readers: list[type[Settings]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (FOLDER / f"base/{file}.env").read_text(encoding="utf-8")
    for name, value in re.findall(r"^#([A-Z0-9_]+)=(.+)$", text, re.MULTILINE):
        monkeypatch.setenv(name, value)
        for settings in readers:
            assert name in variables(settings)
            settings.load()


def test_the_secrets_that_pods_read_are_those_of_the_example_with_settings_inside() -> None:
    example = {one["metadata"]["name"]: one["stringData"] for one in documents(FOLDER / "secrets.example.yaml")}
    read = {
        source["secretRef"]["name"]: name
        for name, deployment in ((one["metadata"]["name"], one) for one in deployments())
        for source in container(deployment)["envFrom"]
        if "secretRef" in source
    }
    for secret, reader in read.items():
        assert example[secret].keys() <= variables(PARTS[reader]), secret
    trigger = only([one for _, one in WRITTEN], "TriggerAuthentication", "seedmill-api")
    (ref,) = trigger["spec"]["secretTargetRef"]
    assert example.keys() == {*read, ref["name"]}
    assert ref["key"] in example[ref["name"]]


def test_the_worker_has_the_time_to_drain_and_to_give_back_the_rest(built: tuple[Manifest, ...]) -> None:
    deployment = only(built, "Deployment", "seedmill-worker")
    drain_s = float(environment(built, deployment)["SEEDMILL_DRAIN_TIMEOUT_S"])
    assert drain_s == WorkerSettings.model_fields["drain_timeout_s"].default
    before_s = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(deployment)["terminationGracePeriodSeconds"] >= before_s + drain_s + GIVE_BACK_S
    assert f"at least `SEEDMILL_DRAIN_TIMEOUT_S` and {GIVE_BACK_S}" in (ROOT / "README.md").read_text("utf-8")


def test_the_api_has_the_time_to_end_its_requests() -> None:
    deployment = only(deployments(), "Deployment", "seedmill-api")
    before_s = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before_s > 0, "else callers are sent to a pod that has ended"
    assert pod(deployment)["terminationGracePeriodSeconds"] > before_s + GRACE_S


@pytest.mark.parametrize("deployment", deployments(), ids=lambda one: str(one["metadata"]["name"]))
def test_pods_have_no_more_rights_than_their_images_need(deployment: Manifest) -> None:
    spec, inside = pod(deployment), container(deployment)
    name = deployment["metadata"]["name"]
    image = "worker/Dockerfile" if name == "seedmill-worker" else "producer/Dockerfile"
    (uid,) = re.findall(r"^USER (\d+):\1$", (ROOT / image).read_text(encoding="utf-8"), re.MULTILINE)
    context = spec["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"]) == (int(uid), True)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not any(spec.get(one) for one in ("hostNetwork", "hostPID", "hostIPC"))
    account = only([one for _, one in WRITTEN], "ServiceAccount", spec["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"])
    mounted = {mount["name"]: mount["mountPath"] for mount in inside["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in spec["volumes"]}
    assert mounted["tmp"] == "/tmp"  # HOME of the images


@pytest.mark.parametrize("deployment", deployments(), ids=lambda one: str(one["metadata"]["name"]))
def test_no_variable_comes_from_a_service_in_the_place_of_a_setting(deployment: Manifest) -> None:
    service = only([one for _, one in WRITTEN], "Service", "seedmill-api")
    made = service["metadata"]["name"].upper().replace("-", "_") + "_PORT"
    assert made in variables(ApiSettings), "or this is not needed any more"
    assert pod(deployment)["enableServiceLinks"] is False


@pytest.mark.parametrize(
    ("state", "started", "live", "ready"),
    [(State.STARTING, 1, 0, 1), (State.SERVING, 0, 0, 0), (State.STOPPING, 0, 0, 0), (None, 1, 1, 1)],
)
def test_the_probes_of_the_worker_tell_by_the_heartbeat(
    tmp_path: Path, state: State | None, started: int, live: int, ready: int
) -> None:
    inside = container(only(deployments(), "Deployment", "seedmill-worker"))
    path = tmp_path / "heartbeat"
    if state:
        path.write_text(f"{state} 1\n")
    for probe, status in (("startupProbe", started), ("livenessProbe", live), ("readinessProbe", ready)):
        python, module, worker, *arguments = inside[probe]["exec"]["command"]
        assert (python, module, worker) == ("python", "-m", "worker")
        done = run_worker_command(*arguments, environment={VARIABLE: str(path)})
        assert done.returncode == status, (probe, done.stdout, done.stderr)
        assert inside[probe]["timeoutSeconds"] >= 5, "an interpreter has to start on a busy node"


def test_the_probes_of_the_api_do_not_ask_for_workers() -> None:
    """Else an API without workers would be asked by nobody how many are needed, and there would never be one."""
    inside = container(only(deployments(), "Deployment", "seedmill-api"))
    paths = {name: inside[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz?exclude=worker&exclude=storage",
    }


def test_ports_are_the_same_everywhere(built: tuple[Manifest, ...]) -> None:
    for name, port, variable in (
        ("seedmill-worker", "metrics", "SEEDMILL_METRICS_PORT"),
        ("seedmill-api", "http", "SEEDMILL_API_PORT"),
    ):
        deployment = only(built, "Deployment", name)
        number = int(environment(built, deployment)[variable])
        assert container(deployment)["ports"] == [{"name": port, "containerPort": number}]
        policy = only(built, "NetworkPolicy", name)
        assert [entry["ports"] for entry in policy["spec"]["ingress"]] == [[{"protocol": "TCP", "port": port}]]
    (of_service,) = only(built, "Service", "seedmill-api")["spec"]["ports"]
    assert of_service["targetPort"] == "http"


def test_whatever_selects_pods_selects_those_that_are_meant(built: tuple[Manifest, ...]) -> None:
    labels = {name: only(built, "Deployment", name)["spec"]["template"]["metadata"]["labels"] for name in PARTS}

    def selected(selector: dict[str, str]) -> set[str]:
        return {name for name, has in labels.items() if selector.items() <= has.items()}

    for name in PARTS:
        assert selected(only(built, "Deployment", name)["spec"]["selector"]["matchLabels"]) == {name}
        assert selected(only(built, "PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"]) == {name}
        assert selected(only(built, "NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"]) == {name}
    assert selected(only(built, "Service", "seedmill-api")["spec"]["selector"]) == {"seedmill-api"}
    everything = only(built, "NetworkPolicy", "seedmill")["spec"]
    assert selected(everything["podSelector"]["matchLabels"]) == PARTS.keys()
    assert (everything["policyTypes"], "ingress" in everything) == (["Ingress", "Egress"], False)
    for spread in pod(only(built, "Deployment", "seedmill-api"))["topologySpreadConstraints"]:
        assert selected(spread["labelSelector"]["matchLabels"]) == {"seedmill-api"}


def test_keda_asks_the_api_as_it_is_reached_and_may_read_no_more(built: tuple[Manifest, ...]) -> None:
    scaled = only(built, "ScaledObject", "seedmill-worker")
    service = only(built, "Service", "seedmill-api")["metadata"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == only(built, "Deployment", "seedmill-worker")["metadata"]["name"]
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["metadata"]["url"] == f"http://{service['name']}.{service['namespace']}.svc/v1/status"
        only(built, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert f"keys create keda --scope {Scope.READ}" in (FOLDER / "secrets.example.yaml").read_text(encoding="utf-8")


def test_keda_reads_the_queue_that_the_workers_serve(built: tuple[Manifest, ...]) -> None:
    queue = environment(built, only(built, "Deployment", "seedmill-worker"))["SEEDMILL_QUEUE"]
    triggers = only(built, "ScaledObject", "seedmill-worker")["spec"]["triggers"]
    read = [trigger["metadata"]["valueLocation"] for trigger in triggers]
    assert read == [f"queues.{queue}.{figure}" for figure in ("backlog", "waiting", "held")]
    assert {figure.rpartition(".")[2] for figure in read} <= QueueFigures.model_fields.keys()


def test_a_model_from_the_object_store_has_a_volume_of_its_own(built: tuple[Manifest, ...]) -> None:
    deployment = only(built, "Deployment", "seedmill-worker")
    (mounted,) = [mount for mount in container(deployment)["volumeMounts"] if mount["name"] == "cache"]
    assert environment(built, deployment)["SEEDMILL_CHECKPOINT_CACHE"] == mounted["mountPath"]


def test_an_open_api_knows_itself_by_the_name_that_keda_asks_for(built: tuple[Manifest, ...]) -> None:
    url = only(built, "ScaledObject", "seedmill-worker")["spec"]["triggers"][0]["metadata"]["url"]
    text = (FOLDER / "base/api.env").read_text(encoding="utf-8")
    (name,) = re.findall(r"^#SEEDMILL_API_TRUSTED_HOSTS=(.+)$", text, re.MULTILINE)

    def status(**settings: Any) -> int:
        app = HostCheck(Starlette(), AccessSettings(**settings))
        return TestClient(app).get("/", headers={"Host": urlsplit(url).netloc}).status_code

    assert status(api_auth="open", api_host="0.0.0.0") == 421
    assert status(api_auth="open", api_host="0.0.0.0", api_trusted_hosts=name) == 404, "it is let through"
    assert status(api_auth="required") == 404


def test_a_scaler_that_fails_ends_no_worker() -> None:
    """KEDA goes on to scale to zero where a fallback of none is named, and keeps what there is where there is one."""
    spec = only([one for _, one in WRITTEN], "ScaledObject", "seedmill-worker")["spec"]
    assert spec["fallback"]["replicas"] >= 1
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert (spec["minReplicaCount"], "idleReplicaCount" in spec) == (0, False)


def test_who_scales_the_workers_is_alone_in_it() -> None:
    assert "replicas" not in only(deployments(), "Deployment", "seedmill-worker")["spec"]
    assert not any(one["kind"] == "HorizontalPodAutoscaler" for _, one in WRITTEN)


def worker_of(overlay: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Return a worker's pod, its container, and its variables."""
    built = build(FOLDER / "overlays" / overlay)
    deployment = only(built, "Deployment", "seedmill-worker")
    return pod(deployment), container(deployment), environment(built, deployment)


def test_the_gpu_is_asked_for_with_the_image_and_the_device_that_use_it() -> None:
    if reason := why_not():
        pytest.skip(reason)
    spec, inside, given = worker_of("gpu")
    compose = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))["services"]["worker"]
    assert inside["image"].endswith(compose["image"].partition("-worker")[2])
    assert inside["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert given["SEEDMILL_DEVICE"] == compose["environment"]["SEEDMILL_DEVICE"]
    volumes = [(volume["name"], volume["emptyDir"]) for volume in spec["volumes"]]
    assert sorted(volumes) == [("cache", {"sizeLimit": "20Gi"}), ("tmp", {"sizeLimit": "2Gi"})], (
        "patched, and still two"
    )


def test_a_worker_on_cpus_decodes_as_many_pictures_at_a_time_as_it_has_cores() -> None:
    if reason := why_not():
        pytest.skip(reason)
    _, inside, given = worker_of("cpu")
    assert given["SEEDMILL_DEVICE"] == "cpu"
    assert inside["resources"]["limits"]["cpu"] == given["SEEDMILL_CPU_THREADS"]
