"""The recipe: what is optimised, how fast, and how a run is saved and taken up again.

The decoder is regressed on the teacher, pixel by pixel. Beside the finished picture it is shown what the teacher drew
on the way: the content before its style, how far each layer covers a pixel, and where each layer stands.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

from checkpoints.train.attributes import CATEGORIES
from checkpoints.train.data import Batch, Pictures
from checkpoints.train.renderer import Attributes
from worker.files import write_atomically
from worker.model.codes import Codes, LatentCodes
from worker.model.config import PRESETS
from worker.model.layers import LayeredPicture
from worker.model.network import SeedNetwork, initialize
from worker.model.tokenizer import build_tokenizer

PRESET = PRESETS["demo"]


@dataclass(frozen=True)
class Recipe:
    """All that decides what a run gives; a run that is taken up again must have the same."""

    seed: int = 0
    steps: int = 6000
    batch: int = 48
    """Pictures a step."""
    stride: int = 4
    """Every how many-th pixel, both ways, a picture is drawn at."""
    warmup: int = 100
    """Steps over which the learning rates rise; they fall along a cosine after that."""
    plane_rate: float = 0.03
    canvas_rate: float = 0.012
    rate: float = 2e-3
    """Adam's learning rates: of the planes, of the canvases, of all other weights."""
    last: float = 0.02
    """Share of the learning rates that is left at the end."""
    content: float = 0.7
    cover: float = 0.08
    pose: float = 0.1
    caption: float = 0.05
    """Weights of the losses beside that of the picture, which is 1."""


class Run:
    """A network in training, in a folder of its own."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe, self.step, self.seconds = folder, recipe, 0, 0.0
        self.network = SeedNetwork(PRESET)
        initialize(self.network, recipe.seed)
        self.codes, self.picture = parts(self.network)
        picture = self.picture
        fast = {id(picture.planes), id(picture.canvases)}
        others = [weight for weight in self.network.parameters() if id(weight) not in fast]
        self.optimizer = torch.optim.Adam(
            [
                {"params": [picture.planes], "peak": recipe.plane_rate},
                {"params": [picture.canvases], "peak": recipe.canvas_rate},
                {"params": others, "peak": recipe.rate},
            ],
            betas=(0.9, 0.99),
        )

    @property
    def state_file(self) -> Path:
        """Where the run is saved."""
        return self.folder / "state.pt"

    @property
    def metrics_file(self) -> Path:
        """Where the figures of every few steps are noted, a JSON object a line."""
        return self.folder / "metrics.jsonl"

    def save(self) -> None:
        """Write all that is needed to go on."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.state_file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.state_file)

    def resume(self) -> None:
        """Take up the run where it was saved.

        Raises:
            ValueError: if it was made by another recipe; the number of steps alone may differ.
        """
        state = torch.load(self.state_file, weights_only=True)
        was, now = state["recipe"], asdict(self.recipe)
        changed = {name: (was.get(name), now[name]) for name in now if name != "steps" and was.get(name) != now[name]}
        if changed:
            raise ValueError(
                f"{self.state_file} was made by another recipe {changed}: choose another folder with --run"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        if self.metrics_file.exists():  # what was noted after the last save comes again
            lines = self.metrics_file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            self.metrics_file.write_text("".join(kept), encoding="utf-8")

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Take one step; return the losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._schedule()
        self.network.train()
        losses = self._losses(batch)
        recipe = self.recipe
        weights = {"picture": 1.0, "content": recipe.content, "cover": recipe.cover, "pose": recipe.pose}
        weights["caption"] = recipe.caption
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()}

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        codes, teacher = encode(self.codes, batch.attributes), batch.rendering
        painting = self.picture.paint(codes, batch.rows, batch.columns)
        placed = ~teacher.poses.isnan()
        logits = self.network.text(codes.hot, batch.tokens[:, :-1])
        return {
            "picture": functional.mse_loss(painting.picture, teacher.picture),
            "content": functional.mse_loss(painting.content, teacher.content),
            "cover": functional.binary_cross_entropy_with_logits(painting.cover[:, 1:], teacher.coverage[:, 1:]),
            "pose": functional.mse_loss(painting.poses[placed], teacher.poses[placed]),
            "caption": functional.cross_entropy(
                logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), ignore_index=PRESET.text.pad_id
            ),
        }

    def _schedule(self) -> float:
        recipe = self.recipe
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / recipe.steps)))
        return min(1.0, (self.step + 1) / recipe.warmup) * (recipe.last + (1 - recipe.last) * fall)


def parts(network: SeedNetwork) -> tuple[LatentCodes, LayeredPicture]:
    """Return codes and picture decoder of a layered network.

    Raises:
        TypeError: if it is not one.
    """
    if network.codes is None or not isinstance(network.picture, LayeredPicture):
        raise TypeError(f"{network.config.name!r} is no layered network, the only kind that this recipe trains")
    return network.codes, network.picture


def encode(codes: LatentCodes, attributes: Attributes) -> Codes:
    """Return the codes of attributes that were drawn without a latent."""
    return codes.encode({name: attributes[name] for name, _ in CATEGORIES}, attributes.values)


class _From(Sampler[int]):
    def __init__(self, first: int, end: int) -> None:
        self.range = range(first, end)

    def __iter__(self) -> Iterator[int]:
        return iter(self.range)

    def __len__(self) -> int:
        return len(self.range)


def train(
    run: Run,
    *,
    workers: int,
    save_every_s: float,
    report: Callable[[int, Mapping[str, float]], None],
    report_every: int,
) -> None:
    """Train to the last step of the recipe, saving now and then; ``report`` gets the step and its figures."""
    pictures = Pictures(run.recipe.seed, run.recipe.batch, run.recipe.stride, build_tokenizer(), PRESET.text)
    loader: DataLoader[Batch] = DataLoader(
        pictures, batch_size=None, sampler=_From(run.step, run.recipe.steps), num_workers=workers
    )
    sums: dict[str, float] = {}
    since = run.step
    last = saved = time.monotonic()
    for batch in loader:
        for name, value in run.train_step(batch).items():
            sums[name] = sums.get(name, 0.0) + value
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.step % report_every == 0:
            means = {name: value / (run.step - since) for name, value in sums.items()}
            report(run.step, {**means, "psnr_db": -10 * math.log10(means["picture"]), "seconds": run.seconds})
            sums, since = {}, run.step
        if now - saved > save_every_s:
            run.save()
            saved = now
    run.save()


def append_json_line(path: Path, facts: Mapping[str, Any]) -> None:
    """Add one line to a JSONL file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def write_tokenizer(path: Path) -> None:
    """Write the demo tokenizer."""
    write_atomically(path, build_tokenizer().to_str(pretty=True).encode())
