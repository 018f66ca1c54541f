"""Run a Typer application so that every error ends in one clear line and a true exit status.

Shared by ``seedmill`` and ``python -m worker``. A traceback is shown only with ``--debug``, which is accepted anywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import typer

from producer.errors import (
    InvalidJobId,
    InvalidSeed,
    JobConflict,
    JobNotFound,
    JobTimeout,
    QueueError,
    SeedmillError,
    SettingsError,
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_TIMEOUT = 4
EXIT_INTERRUPTED = 130

EXIT_CODES: Mapping[type[SeedmillError], int] = {
    InvalidSeed: EXIT_USAGE,
    InvalidJobId: EXIT_USAGE,
    JobNotFound: EXIT_USAGE,
    JobConflict: EXIT_USAGE,
    SettingsError: EXIT_USAGE,
    QueueError: EXIT_UNREACHABLE,
    JobTimeout: EXIT_TIMEOUT,
}


def exit_code(error: SeedmillError) -> int:
    """Return the exit status for an error; what is in no row of the table is 1."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), EXIT_FAILED)


def run(app: typer.Typer, name: str, arguments: Sequence[str]) -> None:
    """Run ``app`` with ``arguments`` and leave the process with its exit status."""
    debug = "--debug" in arguments
    try:
        app(args=[word for word in arguments if word != "--debug"], prog_name=name)
    except SeedmillError as error:
        if debug:
            raise
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
