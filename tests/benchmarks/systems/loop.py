"""The ceiling: the model in a plain loop in one process, files on the local disk, no queue and no store.

Batches of 8, 32 and 128 are tried, each with encoding in the loop itself and on a pool of threads beside the next
batch, with seedmill's own encoder, and what its worker tells the C library of memory; the fastest is measured.
``python -m tests.benchmarks.systems.loop`` is that process: it reads what to do as JSON from its argument and prints
what it took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from tests.benchmarks.devices import Loaded, ModelSpec, spec_of_environment
from tests.benchmarks.measure import median, meter, percentile, timed
from tests.benchmarks.systems.base import Figures, World
from worker.encode import encode_metadata, encode_png
from worker.machine import usable_cores
from worker.memory import keep_freed_memory
from worker.model.generated import Generated

NAME = "loop"
BATCHES = (8, 32, 128)
AHEAD = 4
"""Batches that may wait for the pool, so that memory stays bounded."""


def write(folder: Path, model: Loaded, generated: Generated) -> None:
    """Encode one seed and write its two files."""
    encoded = encode_png(generated, model.info)
    (folder / f"{generated.seed}.png").write_bytes(encoded.png)
    document = encode_metadata(generated, model.info, encoded, f"{generated.seed}.png")
    (folder / f"{generated.seed}.json").write_bytes(document)


def plain(model: Loaded, seeds: Sequence[int], folder: Path, batch: int, threads: int) -> None:
    """Make all seeds; encode in place, or on threads while the next batch is made."""
    started: list[list[Future[None]]] = []
    with ThreadPoolExecutor(threads) if threads else nullcontext() as pool:
        for start in range(0, len(seeds), batch):
            results = model.generate(seeds[start : start + batch])
            if pool is None:
                for generated in results:
                    write(folder, model, generated)
                continue
            started.append([pool.submit(write, folder, model, generated) for generated in results])
            if len(started) > AHEAD:
                for future in started.pop(0):
                    future.result()
        for futures in started:
            for future in futures:
                future.result()


def best(run: Callable[[int, int], float]) -> tuple[int, int]:
    """Return the batch and the number of threads that take least time."""
    tried = [(batch, threads) for batch in BATCHES for threads in (0, usable_cores())]
    return min(tried, key=lambda choice: run(*choice))


def check(folder: Path, seeds: Sequence[int], expected: dict[int, Any]) -> None:
    """Look at what was written."""
    assert all((folder / f"{seed}.{kind}").exists() for seed in seeds for kind in ("png", "json"))
    for seed, pixels in expected.items():
        with Image.open(folder / f"{seed}.png") as image:
            assert image.tobytes() == pixels.tobytes(), f"the loop's picture of {seed} is another"


def measure(model: Loaded, seeds: Sequence[int], trial: int, lone: int, choice: list[int]) -> dict[str, Any]:
    """Measure in this process."""
    with tempfile.TemporaryDirectory(dir=os.environ["BENCHMARK_FOLDER"]) as name:
        folder = Path(name)
        plain(model, seeds[: max(BATCHES) // 8], folder, 8, usable_cores())
        batch, threads = choice or best(lambda *one: timed(lambda: plain(model, seeds[:trial], folder, *one)))
        spent = meter(lambda: plain(model, seeds, folder, batch, threads), {})
        spots = seeds[:: max(1, len(seeds) // 4)]
        check(folder, seeds, {seed: model.generate([seed])[0].pixels for seed in spots})

        def alone(seed: int) -> None:
            write(folder, model, model.generate([seed])[0])

        lones = [timed(partial(alone, seed)) * 1000 for seed in seeds[:lone]]
    return {
        "seeds_per_s": len(seeds) / spent.wall_s,
        "worker_cpu_ms": spent.cpu_s["client"] / len(seeds) * 1000,
        "lone_p50_ms": median(lones),
        "lone_p95_ms": percentile(lones, 0.95),
        "others_cpu_share": spent.others_share,
        "choice": [batch, threads],
    }


def run_loop(
    world: World, spec: ModelSpec, seeds: Sequence[int], *, trial: int, lone: int, choice: list[int]
) -> tuple[Figures, list[int]]:
    """Measure in a process of its own; returns the figures and the choice, to be given again."""
    asked = json.dumps({"seeds": [seeds[0], len(seeds)], "trial": trial, "lone": lone, "choice": choice})
    environment = {**os.environ, **spec.environment(), "BENCHMARK_FOLDER": str(world.folder)}
    argv = [sys.executable, "-m", "tests.benchmarks.systems.loop", asked]
    answer = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, env=environment).stdout)
    batch, threads = chosen = answer.pop("choice")
    told = f"batches of {batch}, encoding {f'on {threads} threads' if threads else 'in the loop'}"
    return Figures(**answer, choice=told), chosen


def main() -> None:
    """Do what the argument asks."""
    asked = json.loads(sys.argv[1])
    keep_freed_memory()
    first, count = asked.pop("seeds")
    print(json.dumps(measure(spec_of_environment().load(), range(first, first + count), **asked)))


if __name__ == "__main__":
    main()
