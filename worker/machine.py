"""What this process may use of the machine: cores and memory, with the limits of its container.

Linux tells the latter in the files of its control groups (version 2, and version 1 for memory); where there are none,
the machine's own count.
"""

from __future__ import annotations

import math
import os
import resource
import sys
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
STATUS = Path("/proc/self/statm")


def usable_cores(groups: Path = GROUPS) -> int:
    """Return the number of cores that this process may use, a started one counted as one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(groups / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def memory_limit(groups: Path = GROUPS) -> int:
    """Return the bytes of memory that this process may use, or that the machine has if that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_read(groups / name) for name in ("memory.max", "memory/memory.limit_in_bytes"))
    return min([whole, *(int(limit) for limit in limits if limit.isdigit())])


def resident_bytes() -> int:
    """Return the bytes of memory that this process has; off Linux, the most that it has had."""
    if pages := _read(STATUS).split():
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
