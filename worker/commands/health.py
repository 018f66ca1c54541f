"""``python -m worker health``: whether the worker beside this process works, without asking Redis or the worker.

It is run every few seconds, so it loads next to nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from producer.errors import SeedmillError
from worker.monitoring.heartbeat import State, read_health

VARIABLE = "SEEDMILL_HEARTBEAT_FILE"
MAX_AGE_S = 30.0
EXIT_FAILED, EXIT_USAGE = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Print what the file says; returns 0 if the worker works, 1 if not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        "python -m worker health",
        description=f"Tell by the age of {VARIABLE} whether the worker works: exit status 0 if it does, 1 if not.",
    )
    parser.add_argument("--live", action="store_true", help="count one that is starting as well")
    parser.add_argument("--max-age", type=float, default=MAX_AGE_S, help="seconds that the heartbeat may be old")
    options = parser.parse_args(arguments)
    if not (path := os.environ.get(VARIABLE)):
        print(f"{parser.prog}: {VARIABLE} is not set: set it for the worker and for this command", file=sys.stderr)
        return EXIT_USAGE
    try:
        found = read_health(Path(path))
    except SeedmillError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{found.state}, heartbeat {found.age_s:.1f} s old, process {found.pid}")
    well = found.age_s <= options.max_age and (options.live or found.state is not State.STARTING)
    return 0 if well else EXIT_FAILED
