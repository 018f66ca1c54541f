"""What several unit tests start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.scripted_api import Ask, ask_async, ask_blocking
from tests.unit.users import User


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Return a user with files that fit."""
    return User(tmp_path)


@pytest.fixture(params=[ask_blocking, ask_async])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Return what makes one call of either client over HTTP."""
    return request.param  # type: ignore[no-any-return]
