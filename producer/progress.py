"""How fast a job goes and when it will end, from its record and the time of the Redis server that it was read at.

The record has marks of time and of the seeds that had ended by then, which producer/scripts/finish_chunk.lua keeps. The
one that is used is half a minute to a minute old while chunks end; when none do, it grows older and the speed falls.
Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping


def seeds_per_s(fields: Mapping[str, str], now_ms: int) -> float | None:
    """Return how many seeds end in a second: since the mark, or since the start while there is none.

    ``None`` where no seed has ended yet.
    """
    done = int(fields["succeeded"]) + int(fields["failed"])
    since_ms, _, before = fields.get("mark", f"{fields.get('started_ms', '')}:0").partition(":")
    if not since_ms or (done == 0 and "mark" not in fields):
        return None
    return max(0, done - int(before)) * 1000 / max(1, now_ms - int(since_ms))


def eta_s(left: int, speed: float | None) -> float | None:
    """Return the seconds until ``left`` more seeds have ended; ``None`` if that cannot be told."""
    return left / speed if speed else None
