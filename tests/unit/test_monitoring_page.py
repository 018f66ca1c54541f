"""What docs/monitoring.md says of log lines is what the code has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support import ROOT

PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8").partition("## Log lines")[2]
OF_LIBRARIES = "library"
LEVELS = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {"exception": "error"}


def log_calls() -> Iterator[tuple[str, str]]:
    """Yield the action and the level of each log line in the code."""
    for path in (*ROOT.glob("worker/**/*.py"), *ROOT.glob("producer/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id == "log" and node.func.attr in LEVELS:
                    actions = [word.value for word in node.keywords if word.arg == "action"]
                    assert actions, f"{path}:{node.lineno}: a log line without an action"
                    assert isinstance(actions[0], ast.Constant)
                    yield str(actions[0].value), LEVELS[node.func.attr]


def test_every_log_line_has_an_action_that_is_listed_with_its_levels() -> None:
    listed: dict[str, set[str]] = {}
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([a-z, ]+) \|", PAGE, re.MULTILINE)
    for names, levels in rows:
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = set(levels.split(", "))
    assert listed.pop(OF_LIBRARIES) == {"any"}
    in_code: dict[str, set[str]] = {}
    for action, level in log_calls():
        in_code.setdefault(action, set()).add(level)
    assert set(listed) == set(in_code)
    assert {name: levels for name, levels in in_code.items() if not levels <= listed[name]} == {}
