"""``python -m checkpoints.evaluate``: how good the demo checkpoint is, on seeds that training never saw.

Pictures and captions come from the product's own engine. They are held against the teacher's picture of the same
attributes, against the grammar, and against a classifier that knows the teacher's pictures alone.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from tqdm import tqdm

from checkpoints.classifier import train_classifier
from checkpoints.train.attributes import CATEGORIES, SCENES, STYLES
from checkpoints.train.captions import every_caption
from checkpoints.train.data import captions_of
from checkpoints.train.loop import parts
from checkpoints.train.renderer import Attributes, Renderer
from worker.contact_sheet import contact_sheet
from worker.encode import encode_png
from worker.files import json_document, write_atomically
from worker.model.checkpoint import load_checkpoint
from worker.model.codes import LatentCodes
from worker.model.engine import Engine
from worker.model.latents import draw_latents

FIRST_SEED = 1_000_000
FOLDER = Path(__file__).parent
PART = 20
"""Pictures that are looked at together."""


def attributes_of(seeds: list[int], codes: LatentCodes) -> Attributes:
    """Return what the latents of the seeds decide."""
    read = codes(draw_latents(seeds, codes.projection.shape[1]))
    return Attributes(torch.stack([read.choices[name] for name, _ in CATEGORIES], dim=1), read.values)


def psnr_db(error: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error of values in [0, 1]."""
    return round(-10 * float(np.log10(error)), 2)


def named(caption: str, names: tuple[str, ...]) -> int:
    """Return which of the names the caption has, -1 for none or several."""
    found = [index for index, name in enumerate(names) if name in caption]
    return found[0] if len(found) == 1 else -1


def evaluate(checkpoint: Path, tokenizer: Path, count: int, classifier_steps: int) -> dict[str, Any]:
    """Return all figures of a checkpoint over ``count`` seeds."""
    classifier, scene_accuracy, style_accuracy = train_classifier(steps=classifier_steps)
    engine, renderer = Engine(checkpoint, tokenizer, device="cpu"), Renderer()
    codes, _ = parts(load_checkpoint(checkpoint).build())
    seeds = list(range(FIRST_SEED, FIRST_SEED + count))
    errors: list[float] = []
    captions: list[str] = []
    scene_hits = style_hits = teacher_captions = 0
    hashes = set()
    groups: dict[str, list[float]] = defaultdict(list)
    for start in tqdm(range(0, count, PART), desc="seeds", unit="part"):
        part = seeds[start : start + PART]
        attributes, generated = attributes_of(part, codes), engine.generate(part)
        pictures = torch.stack([torch.from_numpy(one.pixels) for one in generated]).permute(0, 3, 1, 2).float() / 255
        said = [one.caption for one in generated]
        scenes, styles = classifier.judge(pictures)
        scene_hits += _agreements(scenes, said, SCENES)
        style_hits += _agreements(styles, said, STYLES)
        teacher_captions += sum(a == b for a, b in zip(said, captions_of(attributes), strict=True))
        part_errors = (pictures - renderer.pictures(attributes)).square().mean(dim=(1, 2, 3)).tolist()
        for index, error in enumerate(part_errors):
            groups[STYLES[attributes["style"][index]]].append(error)
            groups[SCENES[attributes["scene"][index]]].append(error)
        errors += part_errors
        captions += said
        hashes |= {hashlib.sha256(one.pixels.tobytes()).hexdigest() for one in generated}
    grammar = every_caption()
    words = [len(caption.split()) for caption in captions]
    return {
        "model_id": engine.info.id,
        "checkpoint_sha256": engine.info.checkpoint_sha256,
        "seeds": [seeds[0], seeds[-1]],
        "psnr_db": {
            "of_the_mean_error": psnr_db(statistics.fmean(errors)),
            "mean_of_pictures": round(statistics.fmean(psnr_db(error) for error in errors), 2),
            "worst_picture": psnr_db(max(errors)),
            "by_group": {name: psnr_db(statistics.fmean(group)) for name, group in sorted(groups.items())},
        },
        "scene_agreement": scene_hits / count,
        "style_agreement": style_hits / count,
        "caption_grammar_valid": sum(caption in grammar for caption in captions) / count,
        "caption_5_to_20_words": sum(5 <= number <= 20 for number in words) / count,
        "caption_as_the_teacher": teacher_captions / count,
        "distinct_captions": len(set(captions)),
        "distinct_pictures": len(hashes),
        "classifier": {"steps": classifier_steps, "scene_accuracy": scene_accuracy, "style_accuracy": style_accuracy},
    }


def _agreements(judged: Tensor, captions: list[str], names: tuple[str, ...]) -> int:
    return sum(int(index) == named(caption, names) for index, caption in zip(judged, captions, strict=True))


def main(
    checkpoint: Annotated[Path, typer.Option(help="The checkpoint.")] = FOLDER / "best.pt",
    tokenizer: Annotated[Path, typer.Option(help="Its tokenizer.")] = FOLDER / "tokenizer.json",
    count: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 500,
    classifier_steps: Annotated[int, typer.Option(min=1, help="Training steps of the classifier.")] = 700,
    out: Annotated[Path, typer.Option(help="Where the figures are written.")] = FOLDER / "evaluation.json",
    sheet: Annotated[
        Path | None, typer.Option(help="Where a sheet of seeds 0 to 47 is written, as JPEG.", show_default=False)
    ] = None,
) -> None:
    """Measure the demo checkpoint."""
    if sheet is not None:
        engine = Engine(checkpoint, tokenizer, device="cpu")
        shown = [(one.seed, one.caption, encode_png(one, engine.info).png) for one in engine.generate(range(48))]
        write_atomically(sheet, contact_sheet(shown, columns=8, form="JPEG"))
    figures = evaluate(checkpoint, tokenizer, count, classifier_steps)
    write_atomically(out, json_document(figures))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    typer.run(main)
