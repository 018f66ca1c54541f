"""``python -m worker demo``: the main job from end to end on the embedded stack, ending in pictures.

Starts the stack, submits seeds through the public client as any app would, follows the job, fetches the published
objects from the bucket, and ends everything it started.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from producer.cli.render import SHOWN_ROWS, count, follow, print_row
from producer.cli.runner import EXIT_FAILED, EXIT_INTERRUPTED
from producer.client import Client, Job
from producer.contract import SeedStatus, image_key, image_name, metadata_key
from producer.message import SeedResult
from producer.seeds import parse_seeds
from worker.contact_sheet import MAX_TILES, contact_sheet
from worker.errors import SetupError, StorageError
from worker.files import json_document, prepare_folder, write_atomically
from worker.local.stack import Endpoints, Stack, ending_on_signals, running_stack
from worker.model_cache import model_files
from worker.settings import WorkerSettings
from worker.storage import ObjectStore

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

UNTRAINED = "the model is untrained: pictures and captions mean nothing"

INTERRUPTED_GRACE_S = 5.0
"""Seconds that the worker gets when the demo is interrupted; nothing of it is needed any more."""


@app.command()
def demo(
    seeds: Annotated[str, typer.Option(help="Seeds and ranges: '42 7 0..63'.")] = "0..10 42",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("out"),
    data: Annotated[Path, typer.Option(help="Folder for everything that the stack writes.")] = Path(".seedmill/demo"),
) -> None:
    """Run the whole stack once: seeds in, pictures and captions out."""
    wanted = parse_seeds([seeds])
    if out == Path():
        raise typer.BadParameter("give a folder of its own", param_hint="--out")
    model = model_variables(WorkerSettings.load())
    prepare_folder(out)
    console = Console(highlight=False, soft_wrap=True)
    try:
        with ending_on_signals(), running_stack(data) as stack:
            with console.status("starting Valkey, an S3 server and a worker with the model preloaded"):
                stack.start_servers(empty_queue=True)
                stack.start_worker(model)
            console.print(
                f"queue {stack.endpoints.redis_url}   S3 {stack.endpoints.s3_url}   data {escape(str(stack.data))}"
            )
            with Client(stack.endpoints.redis_url) as client:
                job = run_job(client, wanted, stack)
                entries = collect(job, stack.endpoints, out, console)
    except KeyboardInterrupt:
        console.print("interrupted; everything that was started has been stopped")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    pictures = count(len({entry["image_path"] for entry in entries}), "picture")
    console.print(f"{pictures}, metadata.json and contact_sheet.png in [bold]{escape(str(out))}/[/]")
    if len(entries) < len(wanted):
        console.print(f"[red]{count(len(wanted) - len(entries), 'seed')} failed[/]")
        raise typer.Exit(EXIT_FAILED)


def model_variables(settings: WorkerSettings) -> dict[str, str]:
    """Return the variables that name the model's files on this disk, found before anything is started.

    What is in an object store is fetched here, since the stack has a store of its own.

    Raises:
        SetupError: naming the file that is missing.
    """
    found = dict(zip(("SEEDMILL_CHECKPOINT", "SEEDMILL_TOKENIZER"), model_files(settings), strict=True))
    for variable, path in found.items():
        if not path.exists():
            raise SetupError(
                f"{path.absolute()} is missing: put it there, or correct {variable}; "
                "the demo's own come back with: git checkout checkpoints"
            )
    return {variable: str(path.absolute()) for variable, path in found.items()}


def is_untrained(client: Client) -> bool:
    """Return whether no worker that is seen has a trained model."""
    return not any(worker["trained"] for worker in client.queue().workers)


def run_job(client: Client, seeds: Sequence[int], stack: Stack) -> Job:
    """Submit the seeds and follow the job to its end; an interrupt cancels it and ends the worker soon."""
    job = client.submit(seeds)
    try:
        if is_untrained(client):
            print(UNTRAINED, file=sys.stderr)
        return follow(job, None)
    except BaseException:
        print(f"stopping; this takes up to {INTERRUPTED_GRACE_S:g} s", file=sys.stderr)
        stack.worker_grace_s = INTERRUPTED_GRACE_S
        job.cancel()
        raise


def collect(job: Job, endpoints: Endpoints, out: Path, console: Console) -> list[dict[str, Any]]:
    """Fetch what was published, save it to ``out`` and show it; returns the metadata of the seeds that succeeded."""
    store = ObjectStore(endpoints.storage())
    entries: list[dict[str, Any]] = []
    pictures: list[tuple[int, str, bytes]] = []
    console.print("[bold]seed       caption, object[/]")
    for number, result in enumerate(job.results()):
        url = ""
        if result.status is SeedStatus.SUCCEEDED:
            entry, png = fetch(store, result)
            write_atomically(out / entry["image_path"], png)
            entries.append(entry)
            if len(pictures) < MAX_TILES:
                pictures.append((result.seed, entry["caption"], png))
            url = store.url(image_key(entry["model_id"], result.seed))
        if number < SHOWN_ROWS:
            print_row(console, result, url)
    write_atomically(out / "metadata.json", json_document(entries))
    if pictures:
        write_atomically(out / "contact_sheet.png", contact_sheet(pictures))
    if job.counts.total > SHOWN_ROWS:
        console.print(f"... and {job.counts.total - SHOWN_ROWS} more")
    return entries


def fetch(store: ObjectStore, result: SeedResult) -> tuple[dict[str, Any], bytes]:
    """Read the two objects of a seed; returns its metadata entry and the PNG.

    Raises:
        StorageError: if the picture is not the one that the result names.
    """
    model_id = result.model_id or ""
    facts = json.loads(store.get(metadata_key(model_id, result.seed)))
    png = store.get(image_key(model_id, result.seed))
    sha256 = hashlib.sha256(png).hexdigest()
    if not sha256 == result.sha256 == facts["image"]["sha256"]:
        raise StorageError(
            f"seed {result.seed}: the stored picture has SHA-256 {sha256}, its result says {result.sha256}"
        )
    name = image_name(result.seed)
    entry = {**facts, "image_path": name, "model_id": model_id, "sha256": sha256, "image_uri": result.image_uri}
    return entry, png
