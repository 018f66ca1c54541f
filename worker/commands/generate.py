"""``python -m worker generate``: pictures by seed, or at a prompt, without any queue."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.prompt import Prompt

from producer.cli.render import SHOWN_ROWS, count, progress_bar
from producer.cli.runner import EXIT_INTERRUPTED
from producer.contract import image_name
from producer.errors import InvalidSeed
from producer.seeds import parse_seeds
from worker.encode import encode_metadata, encode_png
from worker.errors import DecodeError
from worker.files import json_document, prepare_folder, write_atomically
from worker.loading import load_engine
from worker.model.engine import Engine
from worker.model.generated import Generated
from worker.model.isolate import generate_each
from worker.settings import WorkerSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BATCH_SIZE = 32
QUIT = {"q", "quit", "exit"}


@app.command(context_settings={"ignore_unknown_options": True})  # so that -5 is refused as a seed
def generate(
    given: Annotated[list[str] | None, typer.Argument(metavar="SEED...", help="Seeds and ranges: 7 8 0..29.")] = None,
    seed: Annotated[str | None, typer.Option("--seed", help="One seed.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Seeds and ranges in one string: '7 8 0..29'.")] = None,
    interactive: Annotated[bool, typer.Option("--interactive", help="Ask for seeds until q.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures and metadata.json.")] = Path("samples"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: SEEDMILL_DEVICE.")] = None,
) -> None:
    """Generate pictures and captions. Give seeds, --seed, --seeds or --interactive."""
    if sum((bool(given), seed is not None, seeds is not None, interactive)) != 1:
        raise typer.BadParameter("give one of 0..29, --seed 42, --seeds '0..29', --interactive")
    wanted = parse_seeds(given or [seed or seeds or ""]) if not interactive else ()
    if seed is not None and len(wanted) != 1:
        raise typer.BadParameter(f"{seed!r} is more than one seed: use --seeds", param_hint="--seed")
    with Console(stderr=True).status("loading the model"):
        engine = load_engine(WorkerSettings.load(device=device))
    prepare_folder(out)
    console = Console(highlight=False, soft_wrap=True)
    if not engine.info.trained:
        Console(stderr=True).print("[yellow]the checkpoint is untrained: its pictures and captions mean nothing[/]")
    if interactive:
        converse(engine, out, console)
        return
    entries = save_all(engine, wanted, out)
    for entry in entries[:SHOWN_ROWS]:
        show(entry, out, console)
    if len(entries) > SHOWN_ROWS:
        console.print(f"and {len(entries) - SHOWN_ROWS} more")
    console.print(f"{count(len(entries), 'picture')} and metadata.json in {escape(str(out))}/")


def in_batches(engine: Engine, seeds: Sequence[int]) -> Iterator[Generated]:
    """Yield the results of the seeds, generated a batch at a time; those on which the model fails are told.

    Raises:
        DecodeError: at the end, saying how many failed.
    """
    failed = 0
    for start in range(0, len(seeds), BATCH_SIZE):
        batch = seeds[start : start + BATCH_SIZE]
        for seed, result in zip(batch, generate_each(engine.generate, batch), strict=True):
            if isinstance(result, Generated):
                yield result
            else:
                failed += 1
                print(f"seed {seed} failed: {result}", file=sys.stderr)
    if failed:
        raise DecodeError(f"{count(failed, 'seed')} of {len(seeds)} failed; the others were saved")


def save_all(engine: Engine, seeds: Sequence[int], out: Path) -> list[dict[str, Any]]:
    """Generate the seeds in batches, save each picture, and return and save the metadata of all of them."""
    entries: list[dict[str, Any]] = []
    bar, task = progress_bar("generating", len(seeds))
    try:
        with bar:
            for generated in in_batches(engine, seeds):
                entries.append(save(engine, generated, out))
                bar.update(task, advance=1)
    except KeyboardInterrupt:
        Console(stderr=True).print(f"interrupted; {count(len(entries), 'picture')} and metadata.json were saved")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        save_metadata(entries, out)
    return entries


def save_metadata(entries: list[dict[str, Any]], out: Path) -> None:
    """Save what was generated in this run as ``metadata.json``."""
    write_atomically(out / "metadata.json", json_document(entries))


def show(entry: dict[str, Any], out: Path, console: Console) -> None:
    """Print a seed with its caption, and below it where its picture is."""
    console.print(f"[green]{entry['seed']:<10}[/] {escape(entry['caption'])}")
    console.print(f"  [dim]{escape(str(out / entry['image_path']))}[/]")


def save(engine: Engine, generated: Generated, out: Path) -> dict[str, Any]:
    """Save one picture as ``seed_<ten digits>.png``; returns its metadata."""
    name = image_name(generated.seed)
    encoded = encode_png(generated, engine.info)
    write_atomically(out / name, encoded.png)
    facts: dict[str, Any] = json.loads(encode_metadata(generated, engine.info, encoded, name))
    return {**facts, "image_path": name, "model_id": engine.info.id, "sha256": encoded.sha256}


def converse(engine: Engine, out: Path, console: Console) -> None:
    """Ask for seeds and generate them until the user has enough."""
    console.print(f"model {engine.info.id} on {engine.device}; a seed, several, or a range; q quits")
    entries: list[dict[str, Any]] = []
    while (answer := ask(console)) not in QUIT:
        try:
            wanted = parse_seeds([answer]) if answer else ()
        except InvalidSeed as error:
            console.print(f"[red]{escape(str(error))}[/]")
            continue
        try:
            for generated in in_batches(engine, wanted):
                entries.append(save(engine, generated, out))
                show(entries[-1], out, console)
        except DecodeError as error:
            console.print(f"[red]{escape(str(error))}[/]")
        save_metadata(entries, out)


def ask(console: Console) -> str:
    """Return what the user types; the end of the input counts as quitting."""
    try:
        return Prompt.ask("seed", console=console).strip().lower()
    except EOFError:
        return "q"
