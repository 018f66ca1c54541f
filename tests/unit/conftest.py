"""What several unit tests start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.users import User


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Return a user with files that fit."""
    return User(tmp_path)
