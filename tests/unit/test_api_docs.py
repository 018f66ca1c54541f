"""docs/api.md says what the API does: its paths, its problems, its settings."""

from __future__ import annotations

import re

import pytest

from producer.api.app import create_app
from producer.api.settings import ApiSettings
from producer.problems import KINDS, PROTOCOL
from producer.settings import BucketSettings, LogSettings, PresignSettings, ProducerSettings, Settings
from tests.support import ROOT

PAGE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
OPERATION = re.compile(r"^\| `([A-Z]+) (/\S*)` \| (\w*) ?\| ", re.MULTILINE)
PROBLEM = re.compile(r"^\| `([a-z-]+)` \| (\d{3}) \| ", re.MULTILINE)
SETTING = re.compile(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\| ", re.MULTILINE)
SHARED: tuple[type[Settings], ...] = (ProducerSettings, BucketSettings, PresignSettings, LogSettings)


def test_the_paths_are_those_of_the_api() -> None:
    described = create_app(ApiSettings.load()).openapi()["paths"]
    code = {
        (method.upper(), path): bool(operation.get("security"))
        for path, operations in described.items()
        for method, operation in operations.items()
    }
    assert {(method, path): bool(scope) for method, path, scope in OPERATION.findall(PAGE)} == code


def test_the_problems_are_those_of_the_code() -> None:
    code = {name: status for name, (_, status, _) in KINDS.items()} | {n: status for n, (status, _) in PROTOCOL.items()}
    assert {name: int(status) for name, status in PROBLEM.findall(PAGE)} == code


def test_the_settings_are_those_of_the_code() -> None:
    shared = {name for settings in SHARED for name in settings.model_fields}
    code = {
        ApiSettings.variable(name): "" if info.default is None else str(info.default)
        for name, info in ApiSettings.model_fields.items()
        if name not in shared
    }
    assert dict(SETTING.findall(PAGE)) == code


@pytest.mark.parametrize("name", re.findall(r"`examples/(\S+?)`", PAGE))
def test_every_example_that_is_named_exists(name: str) -> None:
    assert (ROOT / "examples" / name).is_file()
