"""The Lua scripts in producer/scripts/, and calls of them that somebody else carries out.

A name of the contract between two ``@`` stands for its value. A script that changes jobs, or needs the keys of a queue,
says so in its first line, and has producer/scripts/change.lua or names.lua before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from producer import contract

PLACE = re.compile(r"@([A-Z][A-Z_]+)@")
PRELUDES = ("names", "change")
"""Scripts that stand before those that say so in their first line, and are none by themselves."""

WITH_PRELUDE = re.compile(r"-- With (\w+)\.lua\.\n")


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
    return {name: _whole(texts, name) for name in texts if name not in PRELUDES}


def _whole(texts: Mapping[str, str], name: str) -> str:
    """Return a script with what stands before it."""
    text = texts[name]
    prelude = WITH_PRELUDE.match(text)
    return _whole(texts, prelude[1]) + text if prelude else text


SCRIPTS = _load()
"""By name, the text of each script as Redis gets it."""
