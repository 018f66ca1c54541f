"""From the figures of a GPU to the README's tables."""

from __future__ import annotations

from tests.benchmarks import report
from tests.benchmarks.report import Results

RESULTS = report.RESULTS.with_name("gpu.json")
MARKS = ("<!-- gpu -->\n", "<!-- end of gpu -->\n")


def markdown(results: Results) -> str:
    """Return the tables, of what was measured: models alone, systems, and how busy they kept the GPU."""
    lines = _alone(results["alone"]) if results["alone"] else []
    if results["models"]:
        lines += [[], report.HEAD, ["---"] * len(report.HEAD), *report.rows(results)]
    said = "".join(f"| {' | '.join(line)} |\n" if line else "\n" for line in lines)
    return "\n".join(filter(None, (said, _busy(results))))


def _alone(measured: Results) -> list[list[str]]:
    """Return the rows of the models alone."""
    batches = list(next(iter(measured.values()))["ms"])
    head = [
        "model alone, seeds/s",
        *(f"batch of {batch}" for batch in batches),
        "CPU ms a seed",
        "GPU memory in use, MB",
    ]
    lines = [head, ["---"] * len(head)]
    for name, figures in measured.items():
        speeds = [f"{int(batch) / ms * 1000:,.0f}" for batch, ms in figures["ms"].items()]
        host = figures["cpu_ms"][batches[-1]] / int(batches[-1])
        lines.append([name, *speeds, f"{host:.2f}", f"{figures['memory_mb']:,}"])
    return lines


def _busy(results: Results) -> str:
    """Return how much of the time the models of a worker were at work, where that was told."""
    rows = []
    for model, measured in results["models"].items():
        shares = {name: figures.get("device_busy_share") for name, figures in measured["systems"].items()}
        told = [f"{report.ROWS[name]} {share:.0%}" for name, share in shares.items() if share is not None]
        rows.append(f"- {report.MODELS[model]}, at work of the time: {', '.join(told)}\n")
    return "".join(rows)


def put_into(text: str, results: Results) -> str:
    """Return the README with the tables between their marks."""
    return report.between(text, MARKS, markdown(results))
