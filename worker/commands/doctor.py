"""``python -m worker doctor``: check this machine and its settings, and say what to do about what fails."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from producer.cli.render import print_json
from producer.cli.runner import EXIT_FAILED
from worker.doctor import Check, Outcome, examine
from worker.settings import WorkerSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

COLOURS = {Outcome.PASS: "green", Outcome.WARN: "yellow", Outcome.FAIL: "red", Outcome.SKIP: "dim"}


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check files, versions, device, a real generation, and round trips to Redis and S3 where configured."""
    checks = list(examine(WorkerSettings.load()))
    failed = any(check.outcome is Outcome.FAIL for check in checks)
    if as_json:
        rows = [{"name": c.name, "outcome": str(c.outcome), "detail": c.detail, "advice": c.advice} for c in checks]
        print_json({"ok": not failed, "checks": rows})
    else:
        report(checks)
    raise typer.Exit(EXIT_FAILED if failed else 0)


def report(checks: list[Check]) -> None:
    """Print a row per check."""
    table = Table("check", "", "found", box=None, header_style="bold", pad_edge=False)
    for check in checks:
        advice = f"\n[bold]-> {escape(check.advice)}[/]" if check.advice else ""
        colour = COLOURS[check.outcome]
        table.add_row(check.name, f"[{colour}]{check.outcome}[/]", f"{escape(check.detail)}{advice}")
    Console(highlight=False).print(table)
