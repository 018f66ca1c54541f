"""Without Gradio the demo says what is missing, and everything else works."""

from __future__ import annotations

import importlib.util

import pytest

from producer.api.app import create_app
from producer.api.settings import ApiSettings
from producer.cli import main
from producer.errors import ExtraMissing

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gradio") is not None, reason="Gradio is installed")

HOW_TO = r'pip install "/path/to/this/checkout\[demo\]"'


def test_an_api_that_should_have_the_demo_does_not_start_without_it() -> None:
    with pytest.raises(ExtraMissing, match=HOW_TO):
        create_app(ApiSettings(api_demo=True))


def test_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["seedmill", "demo", "--url", "http://127.0.0.1:8000"])
    with pytest.raises(SystemExit) as left:
        main()
    assert (left.value.code, '[demo]"' in capsys.readouterr().err) == (2, True)
