"""``python -m worker run``: load the model, then serve the queue until a signal says to stop."""

from __future__ import annotations

import typer

from worker import logs
from worker.loading import load_checked_engine
from worker.service import Service
from worker.settings import WorkerSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve() -> None:
    """Load and warm the model, then take chunks from the queue. SIGTERM finishes what was taken, then ends.

    Settings come from the environment; README.md lists them.
    """
    settings = WorkerSettings.load()
    logs.configure(settings)
    raise typer.Exit(Service(settings, load_checked_engine).run())
