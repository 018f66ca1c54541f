"""Whether processes that live long take more and more: memory, open files and threads, looked at again and again.

A line is fitted through what is seen once a process is warm. How much it rises by while it is watched may not exceed a
bound, which is what comes and goes plus what is allowed an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from typing import Any

from tests.benchmarks.measure import own_rss_mb

WARM = 0.25
"""Part of the time in which a process becomes warm: connections, caches, and what its allocator keeps."""
HOUR_S = 3600.0
FEWEST = 4
"""Looks through which a line is fitted."""


@dataclass(frozen=True)
class Bound:
    """How much a line may rise by: ``swing`` comes and goes in any time, ``hourly`` is added for each hour."""

    swing: float
    hourly: float

    def over(self, seconds: float) -> float:
        """Return how much that is in a time."""
        return self.swing + self.hourly * seconds / HOUR_S


BOUNDS = {"rss_mb": Bound(12, 16), "files": Bound(16, 4), "threads": Bound(10, 1)}
"""What comes and goes are the pools of threads and connections, which an outage fills; an hour adds what may leak."""


def rise(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much a line through these points rises from the first to the last; 0 if they are too few."""
    if len(points) < FEWEST:
        return 0.0
    return linear_regression(*zip(*points, strict=True)).slope * (points[-1][0] - points[0][0])


def usage(pid: int) -> dict[str, float]:
    """Return what a process has now; raises OSError if it has ended."""
    tasks, files = Path(f"/proc/{pid}/task"), Path(f"/proc/{pid}/fd")
    return {
        "rss_mb": own_rss_mb(pid),
        "files": float(sum(1 for _ in files.iterdir())),
        "threads": float(sum(1 for _ in tasks.iterdir())),
    }


class Watch:
    """What was seen of each process, by its name."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, dict[str, float]]]] = {}

    def look(self, name: str, pid: int, at_s: float) -> None:
        """Look at a process, if it lives."""
        with suppress(OSError):
            found = usage(pid)
            self._seen.setdefault(name, []).append((at_s, found))

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return of each process how often it was looked at, and what it had once warm, at its end, and how it rose."""
        return {name: self._of(name) for name in self._seen}

    def leaks(self) -> list[str]:
        """Return what has risen by more than its bound, in words."""
        return [
            f"{name}: {kind} rose by {one['rise']} in {figures['watched_s']:.0f} s, and {one['allowed']} are allowed"
            for name, figures in self.figures().items()
            for kind, one in figures.items()
            if isinstance(one, dict) and one["rise"] > one["allowed"]
        ]

    def _of(self, name: str) -> dict[str, Any]:
        seen = self._seen[name]
        begin = seen[0][0] + WARM * (seen[-1][0] - seen[0][0])
        warm = [look for look in seen if look[0] >= begin]
        watched_s = warm[-1][0] - warm[0][0]
        figures: dict[str, Any] = {"looks": len(warm), "watched_s": round(watched_s, 1)}
        for kind, bound in BOUNDS.items():
            points = [(at_s, found[kind]) for at_s, found in warm]
            figures[kind] = {
                "first": round(points[0][1], 1),
                "last": round(points[-1][1], 1),
                "most": round(max(value for _, value in points), 1),
                "rise": round(rise(points), 2),
                "allowed": round(bound.over(watched_s), 2),
            }
        return figures
