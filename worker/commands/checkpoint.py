"""``python -m worker checkpoint``: make an untrained checkpoint, or show what one is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli.render import print_json
from producer.contract import MAX_SEED
from worker.errors import CheckpointError
from worker.files import write_atomically
from worker.locations import beside
from worker.model.checkpoint import save_checkpoint
from worker.model.config import PRESETS
from worker.model.loaded import load_model
from worker.model.network import SeedNetwork, initialize
from worker.model.tokenizer import build_tokenizer
from worker.model_cache import model_files
from worker.settings import WorkerSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

DEFAULT_FOLDER = Path("checkpoints")

Folder = Annotated[Path, typer.Option("--out", help="Folder of best.pt and tokenizer.json.")]


@app.command()
def init(
    preset: Annotated[str, typer.Option(help=f"Size: {' or '.join(PRESETS)}.")] = "demo",
    out: Folder = DEFAULT_FOLDER,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the random weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Write best.pt with random weights, and its tokenizer.json: the right shapes, but it has learned nothing."""
    if preset not in PRESETS:
        raise typer.BadParameter(f"{preset!r} is not a preset: use {' or '.join(PRESETS)}", param_hint="--preset")
    weights, tokenizer = out / "best.pt", out / "tokenizer.json"
    for path in (weights, tokenizer):
        if path.exists() and not force:
            raise CheckpointError(
                f"{path} is there already: choose another folder with --out, or overwrite with --force"
            )
    network = SeedNetwork(PRESETS[preset])
    initialize(network, seed)
    write_atomically(tokenizer, build_tokenizer().to_str(pretty=True).encode())
    save_checkpoint(weights, network, trained=False)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"wrote {weights} ({parameters / 1e6:.1f} million random parameters, UNTRAINED) and {tokenizer}")
    if out != DEFAULT_FOLDER:
        print(f"use them with: export SEEDMILL_CHECKPOINT={weights} SEEDMILL_TOKENIZER={tokenizer}")


@app.command()
def show(
    path: Annotated[
        str | None,
        typer.Argument(help="The checkpoint, a path or s3://...; default: SEEDMILL_CHECKPOINT.", show_default=False),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Its tokenizer; default: SEEDMILL_TOKENIZER, or the one beside it.", show_default=False),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(help="module:Class of your own network.", envvar="SEEDMILL_ARCHITECTURE", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a checkpoint and its tokenizer are, after checking that they can be loaded.

    Those that are named here are not held to SEEDMILL_CHECKPOINT_SHA256 and SEEDMILL_TOKENIZER_SHA256.
    """
    settings = WorkerSettings.load(checkpoint=path, tokenizer=tokenizer)
    if path:
        settings = settings.model_copy(update={"checkpoint_sha256": ""})
    if path or tokenizer:
        settings = settings.model_copy(update={"tokenizer_sha256": ""})
    if path and tokenizer is None:  # whatever SEEDMILL_TOKENIZER says
        settings = settings.model_copy(update={"tokenizer": beside(path, "tokenizer.json")})
    model = load_model(*model_files(settings), architecture=architecture)
    facts = {
        "checkpoint": settings.checkpoint,
        "sha256": model.sha256,
        "architecture": model.architecture,
        "name": model.name,
        "weights": model.weights,
        "trained": model.trained,
        "parameters": model.parameters,
        "latent_dim": model.latent_dim,
        "vocab_size": model.vocab_size,
        "image_size": model.image_size,
        "tokenizer": str(model.tokenizer.path),
        "tokenizer_sha256": model.tokenizer.sha256,
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name:<18}{value}")
