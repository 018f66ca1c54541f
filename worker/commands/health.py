"""``python -m worker health``: whether the worker beside this process works, without asking Redis or the worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from producer.cli.runner import EXIT_FAILED
from producer.errors import SettingsError
from worker.heartbeat import State, read_health

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

VARIABLE = "SEEDMILL_HEARTBEAT_FILE"


@app.command()
def health(
    live: Annotated[bool, typer.Option("--live", help="Count one that is starting as well.")] = False,
    max_age: Annotated[float, typer.Option(help="Seconds that the heartbeat may be old.", min=1)] = 30,
) -> None:
    """Tell by the age of SEEDMILL_HEARTBEAT_FILE whether the worker works: exit status 0 if it does, 1 if not."""
    if not (path := os.environ.get(VARIABLE)):
        raise SettingsError(f"{VARIABLE} is not set: set it for the worker and for this command")
    found = read_health(Path(path))
    well = found.age_s <= max_age and (live or found.state is not State.STARTING)
    print(f"{found.state}, heartbeat {found.age_s:.1f} s old, process {found.pid}")
    raise typer.Exit(0 if well else EXIT_FAILED)
