"""``python -m checkpoints.train``: train the demo checkpoint from nothing, or go on where a run was left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from checkpoints.train.loop import Recipe, Run, append_json_line, train, write_tokenizer
from worker.model.checkpoint import save_checkpoint

SMOKE = {"steps": 6, "batch": 6, "stride": 16, "warmup": 2}
"""What --smoke changes: enough to run every line, far too little to learn."""


def main(
    folder: Annotated[Path, typer.Option("--run", help="Folder of the run: its state and its metrics.")] = Path(
        "runs/demo"
    ),
    out: Annotated[Path, typer.Option(help="Folder of the best.pt and tokenizer.json that the run ends with.")] = Path(
        "runs/demo"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Steps; a longer run makes better pictures.")] = Recipe.steps,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights and of the data.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network.")] = 2,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw the data.")] = 1,
    save_every: Annotated[float, typer.Option(help="Seconds between two saves of the run.")] = 120.0,
    smoke: Annotated[bool, typer.Option("--smoke", help="Take a few tiny steps, to see that all runs.")] = False,
    wandb: Annotated[bool, typer.Option("--wandb", help="Log to Weights & Biases too, in offline mode.")] = False,
) -> None:
    """Train the demo checkpoint. A run that was interrupted goes on with the same command."""
    torch.set_num_threads(threads)
    recipe = Recipe(seed=seed, **SMOKE) if smoke else Recipe(seed=seed, steps=steps)
    run = Run(folder, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    if run.state_file.exists():
        try:
            run.resume()
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--run") from error
        print(f"going on at step {run.step} of {recipe.steps}")
    board = _wandb(folder, recipe) if wandb else None
    with tqdm(total=recipe.steps, initial=run.step, unit="step", smoothing=0.05) as bar:

        def report(step: int, figures: Mapping[str, float]) -> None:
            append_json_line(run.metrics_file, {"step": step, **{k: round(v, 6) for k, v in figures.items()}})
            bar.update(step - bar.n)
            bar.set_postfix(psnr=f"{figures['psnr_db']:.2f} dB", caption=f"{figures['caption']:.4f}")
            if board is not None:
                board.log(dict(figures), step=step)

        train(run, workers=workers, save_every_s=save_every, report=report, report_every=2 if smoke else 50)
    if board is not None:
        board.finish()
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / "best.pt", run.network, trained=not smoke, half=True)
    write_tokenizer(out / "tokenizer.json")
    print(f"wrote {out / 'best.pt'} and {out / 'tokenizer.json'} after {run.seconds / 60:.1f} minutes of training")


def _wandb(folder: Path, recipe: Recipe):  # type: ignore[no-untyped-def]  # noqa: ANN202  # its types are its own
    try:
        import wandb
    except ImportError as error:
        raise typer.BadParameter("needs the wandb package: pip install wandb", param_hint="--wandb") from error
    return wandb.init(project="seedmill", dir=str(folder), mode="offline", config={"recipe": str(recipe)})


if __name__ == "__main__":
    typer.run(main)
