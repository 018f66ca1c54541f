"""The Lua scripts in producer/scripts/, and calls of them that somebody else carries out.

A name of the contract between two ``@`` stands for its value. A script that changes jobs says so in its first line, and
has what follows from a change before it: producer/scripts/change.lua.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from producer import contract

PLACE = re.compile(r"@([A-Z][A-Z_]+)@")
PRELUDE = "change"
WITH_PRELUDE = f"-- With {PRELUDE}.lua.\n"


@dataclass(frozen=True, slots=True)
class Call:
    """One Lua script with its keys and arguments."""

    script: str
    keys: Sequence[str]
    args: Sequence[str | int]


def _load() -> dict[str, str]:
    folder = files(__package__).joinpath("scripts")
    texts = {
        path.name.removesuffix(".lua"): PLACE.sub(
            lambda place: str(getattr(contract, place[1])), path.read_text(encoding="utf-8")
        )
        for path in folder.iterdir()
        if path.name.endswith(".lua")
    }
    prelude = texts.pop(PRELUDE)
    return {name: prelude + text if text.startswith(WITH_PRELUDE) else text for name, text in texts.items()}


SCRIPTS = _load()
"""By name, the text of each script as Redis gets it."""
