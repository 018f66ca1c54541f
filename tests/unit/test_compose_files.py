"""The files of the stack of containers, as far as they can be told without Docker; test_compose.py runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from producer import __version__
from producer.api.settings import ApiSettings
from producer.settings import PREFIX, Settings
from tests.support import ROOT, clean_environment
from worker.settings import WorkerSettings

BASE = ROOT / "docker-compose.yml"
FILES = sorted(ROOT.glob("docker-compose*.yml"))
DOCKERFILES = sorted([*ROOT.glob("*/Dockerfile"), *ROOT.glob("deploy/*/Dockerfile")])
OF_COMPOSE = "COMPOSE_PROJECT_NAME"
"""The variable that Compose itself gives a value."""
COMMANDS = {"producer", "s3-owner"}
"""Services that end by themselves."""
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(?::([-+?])([^${}]*))?\}")


class Loader(yaml.SafeLoader):
    """Reads Compose's own tags, such as !override, as what they stand before."""


def _untagged(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    assert isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node, deep=True)


Loader.add_multi_constructor("!", _untagged)


def interpolated(text: str, values: dict[str, str]) -> str:
    """Put values where variables are, from the inside out, as Compose does: an empty value counts as none."""

    def value(found: re.Match[str]) -> str:
        given, kind, word = values.get(found[1], ""), found[2], found[3]
        return (word if given else "") if kind == "+" else given or (word if kind == "-" else "")

    while (replaced := VARIABLE.sub(value, text)) != text:
        text = replaced
    return text.replace("$$", "$")


def load(path: Path, values: dict[str, str] | None = None) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.load(text if values is None else interpolated(text, values), Loader)  # a SafeLoader
    return found


SERVICES: dict[str, dict[str, Any]] = {
    **load(BASE, {})["services"],
    "s3-owner": load(ROOT / "docker-compose.minio.yml", {})["services"]["s3-owner"],
}
EXAMPLE = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))


def dockerfile(service: dict[str, Any]) -> str:
    """Return the Dockerfile of a service whose image is ours, else ""."""
    return (ROOT / service["build"]["dockerfile"]).read_text(encoding="utf-8") if "build" in service else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_valid_by_the_specification(path: Path, tmp_path: Path) -> None:
    (tmp_path / "compose.json").write_text(json.dumps(load(path)))
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(tmp_path / "compose.json")]
    done = subprocess.run(
        [sys.executable, *check], capture_output=True, text=True, env=clean_environment(), check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_variable_is_in_the_example_and_every_one_there_is_used() -> None:
    used = {name for path in FILES for name in re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", path.read_text(encoding="utf-8"))}
    assert used - {OF_COMPOSE} == set(EXAMPLE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_example_has_the_defaults(path: Path) -> None:
    assert load(path, EXAMPLE) == load(path, {})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_variable_of_other_tools_leaks_into_the_stack(path: Path) -> None:
    names = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", path.read_text(encoding="utf-8")))
    assert not {name for name in names if name.startswith(("AWS_", "REDIS", "MINIO_", "GF_"))}


OF_THE_STACK = {
    *("redis_url", "redis_trusted_hosts", "metrics_host", "metrics_port"),
    *("s3_create_bucket", "s3_endpoint_url", "s3_access_key_id", "s3_secret_access_key", "s3_public_endpoint_url"),
    *("api_host", "api_auth", "api_trusted_hosts"),
}
"""Settings that the stack has its own values for."""


@pytest.mark.parametrize(("name", "settings"), [("worker", WorkerSettings), ("api", ApiSettings)])
def test_a_service_has_the_defaults_of_the_code(name: str, settings: type[Settings]) -> None:
    given = SERVICES[name]["environment"]
    for field, info in settings.model_fields.items():
        value = given.get(settings.variable(field), "")
        if value != "" and field not in OF_THE_STACK and info.default_factory is None:
            assert settings.load(**{field: value}) == settings.load(**{field: info.default}), field
    assert {name for name in given if name.startswith(PREFIX)} <= set(map(settings.variable, settings.model_fields))


def test_an_api_without_keys_is_not_for_other_machines() -> None:
    given = SERVICES["api"]["environment"]
    assert (given["SEEDMILL_API_HOST"], given["SEEDMILL_API_AUTH"]) == ("0.0.0.0", "open")
    (port,) = SERVICES["api"]["ports"]
    assert port == f"127.0.0.1:8000:{given['SEEDMILL_API_PORT']}"
    elsewhere = load(ROOT / "docker-compose.lan.yml")["services"]["api"]
    assert elsewhere["environment"]["SEEDMILL_API_AUTH"] == "required"


def test_the_image_of_the_command_line_is_that_of_the_api() -> None:
    producer, api = SERVICES["producer"], SERVICES["api"]
    assert producer["build"] == api["build"]
    assert producer["image"] != api["image"], "two builds side by side fail that give one name"
    extras = re.findall(r"\*e\['(\w+)'\]", dockerfile(api))
    assert set(extras) == {"s3", "api", "http", "otel"}


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_may_do_no_more_than_it_has_to(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["mem_limit"]
    assert int(service["pids_limit"]) > 0
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
    assert not {"privileged", "container_name", "pid", "ipc", "devices"} & set(service)
    assert service.get("network_mode") == ("none" if name == "s3-owner" else None)
    assert service.get("cap_add", []) == (["CHOWN"] if name == "s3-owner" else [])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"s3-owner"}))
def test_each_service_runs_as_a_user_of_its_own(name: str) -> None:
    service = SERVICES[name]
    user = service.get("user") or re.findall(r"^USER (.+)$", dockerfile(service), re.MULTILINE)[-1]
    assert user.split(":")[0] not in ("", "0", "root")


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_looked_after(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name in COMMANDS else "unless-stopped")
    assert (name in COMMANDS) != ("healthcheck" in service or "\nHEALTHCHECK " in dockerfile(service))


def test_a_worker_has_the_time_to_drain() -> None:
    worker = SERVICES["worker"]
    grace = float(worker["stop_grace_period"].removesuffix("s"))
    assert grace >= float(worker["environment"]["SEEDMILL_DRAIN_TIMEOUT_S"]) + 15


def test_a_valkey_that_is_full_refuses_before_it_is_killed() -> None:
    (most,) = re.findall(r'--maxmemory "(\d+)mb"', SERVICES["valkey"]["command"][-1])
    assert SERVICES["valkey"]["mem_limit"] == "1g"
    assert int(most) <= 1024 * 0.6


def test_ports_are_those_of_this_machine_alone() -> None:
    for name, service in SERVICES.items():
        assert ("ports" in service) == (name not in {"worker", *COMMANDS})
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_other_machines_are_let_in_at_an_address_that_was_given_alone() -> None:
    services = load(ROOT / "docker-compose.lan.yml")["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("${BIND_ADDRESS:?") for port in ports)
    demanded = {
        name for name, kind, _ in VARIABLE.findall((ROOT / "docker-compose.lan.yml").read_text()) if kind == "?"
    }
    assert demanded == {"BIND_ADDRESS", "VALKEY_PASSWORD", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_images_are_pinned(path: Path) -> None:
    for name, service in load(path, {OF_COMPOSE: "seedmill"})["services"].items():
        image = service.get("image")
        assert image is None or re.fullmatch(r"[a-z0-9./-]+:(?!latest)[\w.-]+", image), name


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"valkey", "s3", "s3-owner"}))
def test_a_proxy_is_not_asked_for_what_is_inside(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["NO_PROXY"] == environment["no_proxy"]
    assert {"valkey", "s3", "worker", "api", "prometheus", "127.0.0.1"} <= set(environment["NO_PROXY"].split(","))


def test_images_for_cpu_and_gpu_have_names_of_their_own() -> None:
    gpu = load(ROOT / "docker-compose.gpu.yml", {})["services"]["worker"]
    assert gpu["image"] != SERVICES["worker"]["image"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_each_image_starts_its_program_itself_and_as_a_user_of_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for command in re.findall(r"^(?:ENTRYPOINT|CMD) (.+)$", text, re.MULTILINE):
        assert all(isinstance(word, str) for word in json.loads(command))  # exec form: signals reach it
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    assert re.findall(r"^ARG BASE=(.+)$", text, re.MULTILINE) == ["python:3.11-slim-bookworm"]
    assert f"ARG VERSION={__version__} " in text
    assert {"title", "description", "version", "licenses", "revision", "created", "source"} == set(
        re.findall(r"org\.opencontainers\.image\.(\w+)=", text)
    )


def test_nothing_gets_into_an_image_that_is_not_named() -> None:
    first, *rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert first == "*"
    named = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    copied = {
        word.rstrip("/")
        for path in DOCKERFILES
        for words in re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(encoding="utf-8"), re.MULTILINE)
        for word in words.split()
        if not word.startswith("--")
    }
    assert {"requirements/*.txt" if word.startswith("requirements/") else word for word in copied} == named
