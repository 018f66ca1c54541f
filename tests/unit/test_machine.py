"""What a process may use of the machine, with the limits of its container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.machine import memory_limit, resident_bytes, usable_cores

MINE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
WHOLE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", MINE),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("110000 100000\n", min(2, MINE or 1)),
        ("99900000 100000\n", MINE),
        ("nonsense", MINE),
        (None, MINE),
    ],
)
def test_a_started_core_of_the_quota_counts_as_one(tmp_path: Path, text: str | None, cores: int) -> None:
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path) == cores


def test_the_least_of_the_limits_of_memory_counts(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == WHOLE
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path) == WHOLE
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory_limit(tmp_path) == 1 << 20
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("4096\n")
    assert memory_limit(tmp_path) == 4096


def test_memory_that_is_held_is_seen() -> None:
    before = resident_bytes()
    held = b"x" * (64 << 20)
    assert resident_bytes() - before > 32 << 20
    del held
