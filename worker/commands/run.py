"""``python -m worker run``: load the model, then serve the queue until a signal says to stop."""

from __future__ import annotations

import structlog
import typer

from producer import logs
from producer.errors import SeedmillError
from worker.loading import load_checked_engine
from worker.service import Service
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve() -> None:
    """Load and warm the model, then take chunks from the queue. SIGTERM finishes what was taken, then ends.

    Settings come from the environment; README.md lists them.
    """
    settings = WorkerSettings.load()
    logs.configure(settings)
    try:
        status = Service(settings, load_checked_engine).run()
    except SeedmillError as error:  # told in one line below as well, for people
        log.critical("the worker cannot serve", action="worker_failed", error=str(error))
        raise
    raise typer.Exit(status)
