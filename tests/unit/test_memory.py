"""What the worker tells the C library of memory takes effect."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT
from worker.memory import keep_freed_memory

PIECES = """
import resource
import torch
from worker.memory import keep_freed_memory
if {kept}:
    assert keep_freed_memory()
def work():
    for _ in range(50):
        torch.ones(7_000_000, dtype=torch.uint8).add_(1)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, kept: bool) -> int:
    """Return how many pages a fresh process is given anew when it needs the same memory again and again."""
    environment = {"MALLOC_MMAP_THRESHOLD_": "1000000", "PATH": ""}  # so that the default does not adapt itself
    argv = [sys.executable, "-c", PIECES.format(kept=kept)]
    return int(subprocess.run(argv, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is another than glibc")
def test_memory_that_was_let_go_of_is_used_again() -> None:
    assert faults(kept=True) * 20 < faults(kept=False)
