"""The plot of the README: ``python -m tests.benchmarks.plot`` draws it again from the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.report import MODELS, OTHERS, RESULTS, ROWS
from tests.support import ROOT

PLOT = ROOT / "docs" / "throughput.png"
OURS = ("seedmill lone", "seedmill lists", "seedmill range")
SHOWN = (*OTHERS, *OURS)
COLOURS = {"loop": "#b8bec6", **dict.fromkeys(OTHERS[1:], "#d9a66b"), **dict.fromkeys(OURS, "#2f6f9f")}
INK, GREY = "#2b2f36", "#6b7280"


def bars_of(measured: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """Return name, seeds a second, and label of each bar of one model, from top to bottom."""
    systems, to = measured["systems"], measured["ratios"].get("range", {})
    found = []
    for name in [name for name in SHOWN if name in systems]:
        speed = systems[name]["seeds_per_s"]
        label = f"{speed:.1f}" if speed < 10 else f"{speed:.0f}"
        found.append((name, speed, f"{label}   ({to[name]:.2f}x)" if name in to else label))
    return found


def draw(results: Mapping[str, Any], path: Path = PLOT) -> None:
    """Draw a panel for each model."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    models = results["models"]
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.labelcolor": INK})
    figure, axes = plt.subplots(len(models), 1, figsize=(7.6, 0.6 + 2.35 * len(models)), squeeze=False)
    for axis, (model, measured) in zip(axes[:, 0], models.items(), strict=True):
        panel(axis, MODELS[model], bars_of(measured))
    machine = results["machine"]
    figure.text(
        0.01,
        0.008,
        "seeds a second, more is better; in brackets: seedmill's one range as a multiple of it\n"
        f"{machine['cpu']}, {machine['cores']} cores",
        fontsize=7.5,
        color=GREY,
    )
    figure.tight_layout(rect=(0, 0.025, 1, 1), h_pad=1.6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, facecolor="white", metadata={"Software": None})
    plt.close(figure)


def panel(axis: Any, title: str, bars: list[tuple[str, float, str]]) -> None:
    """Draw one model."""
    names, speeds, labels = zip(*bars, strict=True)
    places = range(len(bars))[::-1]
    axis.barh(places, speeds, height=0.68, color=[COLOURS[name] for name in names])
    axis.set_yticks(places, [ROWS[name] for name in names])
    for place, speed, label in zip(places, speeds, labels, strict=True):
        axis.text(speed + max(speeds) * 0.01, place, label, va="center", fontsize=8.5)
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.set_xlim(0, max(speeds) * 1.2)
    axis.tick_params(length=0, labelcolor=INK)
    axis.xaxis.set_visible(False)
    for side in axis.spines.values():
        side.set_visible(False)


def main() -> None:
    """Draw what was measured last."""
    draw(json.loads(RESULTS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
