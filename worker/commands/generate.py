"""``python -m worker generate``: pictures by seed, or at a prompt, without any queue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.prompt import Prompt

from producer.cli.render import progress_bar
from producer.errors import InvalidSeed
from producer.seeds import parse_seeds
from worker.encode import encode_metadata, encode_png
from worker.files import write_atomically
from worker.loading import load_engine
from worker.model.engine import Engine, Generated
from worker.settings import WorkerSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BATCH_SIZE = 32
QUIT = {"q", "quit", "exit"}


@app.command()
def generate(
    seed: Annotated[str | None, typer.Option("--seed", help="One seed.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Seeds and ranges: '7 8 0..29'.")] = None,
    interactive: Annotated[bool, typer.Option("--interactive", help="Ask for seeds until q.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures and metadata.json.")] = Path("samples"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: SEEDMILL_DEVICE.")] = None,
) -> None:
    """Generate pictures and captions. Give --seed, --seeds or --interactive."""
    words = [text for text in (seed, seeds) if text is not None]
    if not words and not interactive:
        raise typer.BadParameter("give --seed 42, --seeds 0..29, or --interactive")
    wanted = parse_seeds(words) if words else ()
    engine = load_engine(WorkerSettings.load(device=device))
    console = Console(highlight=False)
    if not engine.info.trained:
        Console(stderr=True).print("[yellow]the checkpoint is untrained: its pictures and captions mean nothing[/]")
    if wanted:
        entries = save_all(engine, wanted, out)
        for entry in entries[:20]:
            console.print(f"{entry['seed']}  {out / entry['image_path']}  {escape(entry['caption'])}", soft_wrap=True)
        console.print(f"{len(entries)} pictures and metadata.json in {out}/")
    if interactive:
        converse(engine, out, console)


def save_all(engine: Engine, seeds: Sequence[int], out: Path) -> list[dict[str, Any]]:
    """Generate the seeds in batches, save each picture, and return and save the metadata of all of them."""
    entries: list[dict[str, Any]] = []
    bar, task = progress_bar("generating", len(seeds))
    with bar:
        for start in range(0, len(seeds), BATCH_SIZE):
            for generated in engine.generate(seeds[start : start + BATCH_SIZE]):
                entries.append(save(engine, generated, out))
                bar.update(task, advance=1)
    write_atomically(out / "metadata.json", (json.dumps(entries, indent=2, ensure_ascii=False) + "\n").encode())
    return entries


def save(engine: Engine, generated: Generated, out: Path) -> dict[str, Any]:
    """Save one picture as ``seed_<ten digits>.png``; returns its metadata."""
    name = f"seed_{generated.seed:010d}.png"
    encoded = encode_png(generated, engine.info)
    write_atomically(out / name, encoded.png)
    facts: dict[str, Any] = json.loads(encode_metadata(generated, engine.info, encoded, name))
    return {**facts, "image_path": name, "sha256": hashlib.sha256(encoded.png).hexdigest()}


def converse(engine: Engine, out: Path, console: Console) -> None:
    """Ask for seeds and generate them until the user has enough."""
    console.print(f"model {engine.info.id} on {engine.device}; a seed, several, or a range; q quits")
    while True:
        try:
            answer = Prompt.ask("seed", console=console).strip()
        except EOFError:
            return
        if answer.lower() in QUIT:
            return
        try:
            for generated in engine.generate(parse_seeds([answer])):
                entry = save(engine, generated, out)
                console.print(f"[bold]{escape(entry['caption'])}[/]\n{out / entry['image_path']}", soft_wrap=True)
        except InvalidSeed as error:
            console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
