"""Run a Typer application so that every error ends in one clear line and a true exit status.

Shared by ``seedmill`` and ``python -m worker``. A traceback is shown only with ``--debug``, which is accepted anywhere.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import NoReturn

import typer

from producer.errors import (
    AccessError,
    ApiKeyNotFound,
    DeadLetterNotFound,
    ExtraMissing,
    InvalidJobId,
    InvalidSeed,
    InvalidUri,
    JobConflict,
    JobNotFound,
    JobTimeout,
    QueueError,
    QueueUnknown,
    SeedmillError,
    SettingsError,
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_TIMEOUT = 4
EXIT_INTERRUPTED = 130
EXIT_READER_GONE = 141

EXIT_CODES: Mapping[type[SeedmillError], int] = {
    InvalidSeed: EXIT_USAGE,
    InvalidJobId: EXIT_USAGE,
    InvalidUri: EXIT_USAGE,
    JobNotFound: EXIT_USAGE,
    DeadLetterNotFound: EXIT_USAGE,
    ApiKeyNotFound: EXIT_USAGE,
    JobConflict: EXIT_USAGE,
    SettingsError: EXIT_USAGE,
    ExtraMissing: EXIT_USAGE,
    AccessError: EXIT_USAGE,
    QueueUnknown: EXIT_USAGE,
    QueueError: EXIT_UNREACHABLE,
    JobTimeout: EXIT_TIMEOUT,
}


def exit_code(error: Exception) -> int:
    """Return the exit status for an error; what is in no row of the table is 1."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), EXIT_FAILED)


def run(app: typer.Typer, name: str, arguments: Sequence[str]) -> None:
    """Run ``app`` with ``arguments`` and leave the process with its exit status."""
    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"]
    try:
        app(args=words, prog_name=name, help_option_names=["-h", "--help"])
    except (SeedmillError, OSError) as error:
        if debug:
            traceback.print_exc()
        else:
            print(f"{name}: {error}", file=sys.stderr)
        _leave(exit_code(error))
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            _leave(EXIT_READER_GONE)
        raise


def _leave(status: int) -> NoReturn:
    """End the process with this status even if what is still buffered cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
