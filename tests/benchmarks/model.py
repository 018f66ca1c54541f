"""What the model alone costs on one core: ``python -m tests.benchmarks.model``.

Each preset and precision runs in a process of its own, which first measures the machine's own peak at multiplying
matrices, and the fastest that it reaches at all. Floating-point operations are counted by PyTorch; times are CPU
milliseconds of one thread. Prints a table and writes ``results/model.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tests.support import ROOT, write_model
from worker.model.config import PRESETS
from worker.model.decoders import CANONICAL_SHAPES, channels_last
from worker.model.engine import Engine
from worker.model.latents import draw_latents
from worker.model.loaded import Precision, load_model

RESULTS = Path(__file__).with_name("results")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MATRIX = 2048
CHANNELS, SIDE = 512, 64
LONGEST_MS = 10_000
"""CPU time after which a figure is not measured again."""
BATCHES = (1, 2, 4)
"""Pictures decoded at once, to see what the canonical shape, one at a time, costs."""


def cpu_ms(call: Callable[[], object], repeats: int) -> float:
    """Return the median of the CPU milliseconds of some calls, after one to warm up; fewer where they are slow."""
    times: list[float] = []
    while len(times) <= repeats and sum(times) < LONGEST_MS:
        started = time.thread_time()
        call()
        times.append((time.thread_time() - started) * 1000)
    return statistics.median(times[1:] or times)


def matmul_gflops(dtype: torch.dtype) -> float:
    """Return what this core reaches at multiplying square matrices, in 1e9 operations a second."""
    a, b = torch.randn(MATRIX, MATRIX).to(dtype), torch.randn(MATRIX, MATRIX).to(dtype)
    return 2 * MATRIX**3 / cpu_ms(lambda: a @ b, 3) / 1e6


def convolution_gflops(dtype: torch.dtype) -> float:
    """Return the same for a 3x3 convolution, which another library computes, faster than matrices on some CPUs."""
    x = torch.randn(1, CHANNELS, SIDE, SIDE).to(dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    return 2 * 9 * CHANNELS**2 * SIDE**2 / cpu_ms(lambda: functional.conv2d(x, weight, padding=1), 3) / 1e6


def operations(call: Callable[[], object]) -> int:
    """Return the floating-point operations of a call, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def resident_mb() -> float:
    """Return the most memory that this process has had resident, in MB of 1e6 bytes (Linux).

    From /proc: what getrusage says begins with the peak of the process that started this one.
    """
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


@torch.inference_mode()
def speed(files: tuple[Path, Path], precision: Precision, repeats: int) -> dict[str, Any]:
    """Measure pictures and captions on one thread."""
    network = load_model(files[0], files[1], precision=precision).network
    channels_last(network)
    latents = draw_latents(range(8), network.config.latent_dim)
    rows = CANONICAL_SHAPES["cpu"].text_rows
    matmul = matmul_gflops(DTYPES[precision])
    # A CPU without instructions for bfloat16 is fastest in float32.
    tried = {torch.float32, DTYPES[precision]}
    fastest = max(*map(matmul_gflops, tried), *map(convolution_gflops, tried), matmul)
    peaks = {"matmul": matmul, "fastest": fastest}
    batches = {1: cpu_ms(partial(network.decode_pictures, latents[:1]), repeats)}
    for n in BATCHES[1:]:
        if n * batches[1] < LONGEST_MS:
            batches[n] = cpu_ms(partial(network.decode_pictures, latents[:n]), repeats) / n
    captions = cpu_ms(lambda: network.decode_tokens(latents[:rows]), repeats)
    tensors = [*network.parameters(), *network.buffers()]
    return {
        "weights_mb": sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6,
        **{f"{name}_gflops": value for name, value in peaks.items()},
        **_shares("picture", batches[1], operations(lambda: network.decode_pictures(latents[:1])), peaks),
        "picture_ms_by_batch": batches,
        **_shares("captions", captions, operations(lambda: network.decode_tokens(latents[:rows])), peaks),
        "lone_caption_alone_ms": cpu_ms(lambda: network.decode_tokens(latents[:1]), repeats),
    }


def _shares(name: str, ms: float, flops: int, peaks: dict[str, float]) -> dict[str, float]:
    """Return time, operations, speed and shares of the peaks of one part of the model."""
    gflops = flops / ms / 1e6
    return {
        f"{name}_ms": ms,
        f"{name}_gflop": flops / 1e9,
        f"{name}_gflops": gflops,
        **{f"{name}_share_of_{peak}": gflops / value for peak, value in peaks.items()},
    }


def memory(files: tuple[Path, Path], precision: Precision) -> dict[str, float]:
    """Load the model as the worker does and generate; how much memory that takes at most beyond the imports."""
    before = resident_mb()
    engine = Engine(*files, device="cpu", precision=precision, threads=1)
    engine.generate(range(8))
    return {
        "file_mb": files[0].stat().st_size / 1e6,
        "peak_beyond_imports_mb": resident_mb() - before,
        "imports_mb": before,
    }


def cpu_name() -> str:
    """Return what the CPU calls itself (Linux)."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{platform.machine()}, {name}"


def measure_one(preset: str, precision: Precision, folder: Path, what: str, repeats: int) -> dict[str, Any]:
    """Measure in this process."""
    torch.set_num_threads(1)
    files = (folder / preset / "best.pt", folder / preset / "tokenizer.json")
    return memory(files, precision) if what == "memory" else speed(files, precision, repeats)


def measure(folder: Path, repeats: int) -> dict[str, Any]:
    """Measure everything, each in a process of its own."""
    figures: dict[str, Any] = {}
    shutil.copytree(ROOT / "checkpoints", folder / "demo")  # what ships; the other one is random
    write_model(folder / "large", PRESETS["large"])
    for preset in PRESETS:
        for precision in DTYPES:
            one = figures.setdefault(f"{preset} {precision}", {})
            for what in ("memory", "speed"):
                command = [sys.executable, "-m", "tests.benchmarks.model", "--one", preset, precision, what]
                command += ["--folder", str(folder), "--repeats", str(repeats)]
                one.update(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    return figures


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        preset, precision, what = options.one
        print(json.dumps(measure_one(preset, precision, options.folder, what, options.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.repeats)
    machine = f"{cpu_name()}, one thread, Python {platform.python_version()}, torch {torch.__version__}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "model.json").write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n")
    table = Table("figure", *figures)
    for name in next(iter(figures.values())):
        cells = [figures[column][name] for column in figures]
        table.add_row(name, *(str(cell) if isinstance(cell, dict) else f"{cell:.2f}" for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    main()
