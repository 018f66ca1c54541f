"""``python -m worker verify``: generate published seeds again and compare with the bucket."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from producer.cli.render import print_json
from producer.cli.runner import EXIT_FAILED
from producer.client import Client
from producer.contract import SeedStatus
from producer.seeds import parse_seeds
from worker.loading import load_checked_engine
from worker.settings import WorkerSettings
from worker.storage import ObjectStore
from worker.verify import GOOD, Finding, Verified, other_models, published_seeds, verify

SHOWN_ROWS = 20
"""Above so many seeds only those that are not the same are listed."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def compare(
    seeds: Annotated[list[str] | None, typer.Argument(metavar="SEED...", help="Seeds or ranges.")] = None,
    job: Annotated[str | None, typer.Option("--job", help="The seeds of this job.")] = None,
    sample: Annotated[int, typer.Option("--sample", min=0, help="So many published seeds, at random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Generate published seeds again and compare pixels, captions and files. Exit status 0 if all are the same."""
    if sum(map(bool, (seeds, job, sample))) != 1:
        raise typer.BadParameter("give seeds, or --job ID, or --sample N")
    wanted = parse_seeds(seeds) if seeds else ()
    settings = WorkerSettings.load()
    others: list[Verified] = []
    engine = load_checked_engine(settings)
    if job:
        wanted, others = seeds_of_job(job, settings, engine.info.id)
    store = ObjectStore(settings)
    store.check_bucket()
    if sample:
        wanted = published_seeds(store, engine.info.id, sample)
    found = [*others, *verify(engine, store, wanted)]
    if sample and not found and (names := other_models(store, engine.info.id)):
        print(f"nothing is published by {engine.info.id}, but by another model: {', '.join(names)}", file=sys.stderr)
    report(found, engine.info.id, as_json=as_json)
    if not found or any(item.finding not in GOOD for item in found):
        raise typer.Exit(EXIT_FAILED)


def seeds_of_job(job_id: str, settings: WorkerSettings, model_id: str) -> tuple[Sequence[int], list[Verified]]:
    """Return the seeds of a job that this model made, and a finding for each that another model made."""
    with Client(settings.redis_url) as client:
        results = [r for r in client.get(job_id).results() if r.status is SeedStatus.SUCCEEDED]
    ours = [result.seed for result in results if result.model_id == model_id]
    others = [
        Verified(result.seed, Finding.OTHER_MODEL, f"made by {result.model_id}, this is {model_id}")
        for result in results
        if result.model_id != model_id
    ]
    return ours, others


def report(found: Sequence[Verified], model_id: str, *, as_json: bool) -> None:
    """Print what was found."""
    same = sum(item.finding in GOOD for item in found)
    if as_json:
        rows = [{"seed": item.seed, "finding": str(item.finding), "detail": item.detail} for item in found]
        print_json({"model_id": model_id, "same": same, "compared": len(found), "seeds": rows})
        return
    console = Console(highlight=False)
    table = Table("seed", "finding", Column("detail", overflow="fold"), box=None, header_style="bold", pad_edge=False)
    worth_showing = found if len(found) <= SHOWN_ROWS else [item for item in found if item.finding not in GOOD]
    for item in worth_showing:
        colour = "green" if item.finding in GOOD else "red"
        table.add_row(str(item.seed), f"[{colour}]{item.finding}[/]", escape(item.detail))
    if table.row_count:
        console.print(table)
    console.print(f"{same} of {len(found)} the same, model {model_id}")
