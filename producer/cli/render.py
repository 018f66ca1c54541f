"""How the command line shows jobs, results and the queue: tables for people, JSON for programs.

Results and JSON go to standard output, progress and remarks to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from producer.client import Job
from producer.contract import SeedResult, SeedStatus
from producer.errors import JobTimeout
from producer.job import Counts, QueueStatus

PIPE_WIDTH = 400
"""Columns assumed where the output is not a terminal, so that lines are not folded for programs like grep."""

STYLES = {"succeeded": "green", "failed": "red", "canceled": "yellow", "expired": "yellow"}


def console(*, stderr: bool = False) -> Console:
    """Return a console for one of the two output streams."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2))


def print_job(job: Job) -> None:
    """Print a job in one line."""
    style = STYLES.get(job.status, "cyan")
    console().print(f"job [bold]{job.id}[/] [{style}]{job.status}[/]: {describe(job.counts)}")


def describe(counts: Counts) -> str:
    """Return the counts in words, leaving out states that nobody is in."""
    states = ("queued", "running", "succeeded", "failed", "canceled")
    parts = [f"{getattr(counts, state)} {state}" for state in states if getattr(counts, state)]
    return f"{', '.join(parts)} of {counts.total} seed{'s' if counts.total != 1 else ''}"


def print_results(results: Iterable[SeedResult]) -> None:
    """Print one row per seed: the caption and the picture's URI, or the reason of the failure."""
    table = Table("seed", "status", "caption", "image", box=None, header_style="bold", pad_edge=False)
    for result in results:
        good = result.status is SeedStatus.SUCCEEDED
        reason = f"{result.error['type']}: {result.error['message']}" if result.error else ""
        row = (result.caption or "", result.image_uri or "") if good else (reason, "")
        table.add_row(str(result.seed), f"[{STYLES[result.status]}]{result.status}[/]", *map(escape, row))
    console().print(table)


def print_queue(status: QueueStatus) -> None:
    """Print the queue's depth and a row per worker."""
    out = console()
    out.print(f"{status.waiting} messages waiting, {status.held} held by workers, {len(status.workers)} workers seen")
    if status.workers:
        columns = ("host", "pid", "device", "model_id")
        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for worker in status.workers:
            table.add_row(*(str(worker.get(column, "")) for column in columns))
        out.print(table)


def progress_bar(label: str, total: int) -> tuple[Progress, Any]:
    """Return a live progress bar on standard error and its task."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
    )
    return bar, bar.add_task(label, total=total, note="")


def follow(job: Job, timeout: float | None) -> Job:
    """Show a progress bar until the job has ended; the job as it is when the time runs out raises JobTimeout."""
    bar, task = progress_bar("generating", job.counts.total)
    with bar:
        try:
            for seen in job.watch(timeout):
                failed = f"[red]{seen.counts.failed} failed[/]" if seen.counts.failed else ""
                bar.update(task, completed=seen.counts.done, note=failed)
        except JobTimeout:
            bar.update(task, note="[yellow]timed out[/]")
            raise
    return job
