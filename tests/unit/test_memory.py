"""What the worker tells the C library of memory takes effect."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.support import ROOT
from worker.memory import OPERATOR

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another than glibc")

PIECES = """
import resource
import sys
from worker.memory import keep_freed_memory

print(sys.argv[1] == "kept" and keep_freed_memory())
pages = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [b"1" * (8 << 20) for _ in range(4)]
    del pieces
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(pages[-1])
"""


def faults(way: str, **more: str) -> tuple[bool, int]:
    """Return whether a fresh process keeps freed memory, and how many pages it is given when it wants as much again."""
    environment = {name: value for name, value in os.environ.items() if name not in OPERATOR} | more
    argv = [sys.executable, "-c", PIECES, way]
    answer = subprocess.run(argv, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    kept, number = answer.split()
    return kept == "True", int(number)


@GLIBC
def test_memory_that_was_let_go_of_is_used_again() -> None:
    (kept, few), (_, many) = faults("kept"), faults("default")
    assert kept
    assert few * 10 < many


@GLIBC
def test_what_the_operator_has_set_stays() -> None:
    assert not faults("kept", MALLOC_TRIM_THRESHOLD_="1000000")[0]
