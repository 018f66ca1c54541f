"""What the main job costs, against the same model in a plain loop: ``python -m tests.benchmarks.main_job [--seeds N]``.

One run on one machine: the plain loop (generate, encode, write to the local disk), one job through the whole service,
lone seeds at idle, and a job of a million seeds that nobody works on. Prints a table and writes
``results/main_job.json``. CPU time is that of each process, read from /proc (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from producer import Client
from tests.support import ROOT
from worker.encode import encode_metadata, encode_png
from worker.files import write_atomically
from worker.local.process import Process
from worker.local.stack import Stack, running_stack
from worker.model.engine import Engine, usable_cores

RESULTS = Path(__file__).with_name("results")
BATCH = 32
LONE_SEEDS = 60
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, all its threads and no children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds that ``call`` takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def plain_loop(model: Path, seeds: range, out: Path) -> dict[str, float]:
    """Generate, encode and write in this process, batch after batch."""
    engine = Engine(model / "best.pt", model / "tokenizer.json", device="cpu")
    engine.self_check()

    def work() -> None:
        for start in range(0, len(seeds), BATCH):
            for generated in engine.generate(seeds[start : start + BATCH]):
                encoded = encode_png(generated, engine.info)
                write_atomically(out / f"{generated.seed}.png", encoded.png)
                write_atomically(out / f"{generated.seed}.json", encode_metadata(generated, engine.info, encoded, "k"))

    before = time.process_time()
    wall = timed(work)
    return {"seeds_per_s": len(seeds) / wall, "cpu_ms_per_seed": (time.process_time() - before) / len(seeds) * 1000}


def service(stack: Stack, worker: Process, seeds: range) -> dict[str, float]:
    """Send one job through the whole service and see what each process spends on it."""
    pids = {"worker": worker.pid, **{name: process.pid for name, process in stack.servers.items()}}
    with Client(stack.endpoints.redis_url) as client:
        client.submit(range(BATCH)).wait(60)
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        wall = timed(lambda: client.submit(seeds).wait(600))
    spent = {f"{name}_cpu_ms_per_seed": (cpu_s(pid) - before[name]) / len(seeds) * 1000 for name, pid in pids.items()}
    return {"seeds_per_s": len(seeds) / wall, **spent}


def lone_seeds(stack: Stack) -> dict[str, float]:
    """Submit one seed at a time to an idle worker; milliseconds from submit to the end of wait."""
    with Client(stack.endpoints.redis_url) as client:
        client.submit(1).wait(60)
        waits, inside = [], []
        for seed in range(LONE_SEEDS):
            started = time.perf_counter()
            (result,) = client.submit(seed).wait(60).results()
            waits.append((time.perf_counter() - started) * 1000)
            inside.append(result.timings["generate_ms"] + result.timings["encode_ms"])
    cuts = statistics.quantiles(waits, n=20)
    model = statistics.median(inside)
    return {"p50_ms": statistics.median(waits), "p95_ms": cuts[18], "model_and_encode_p50_ms": model}


def big_job(stack: Stack) -> dict[str, float]:
    """Submit a million seeds to a database without workers, and poll."""
    url = stack.endpoints.redis_url.removesuffix("/0") + "/5"
    with Client(url) as client:
        before = client._redis.info("memory")["used_memory"]
        submit = timed(lambda: client.submit(range(1_000_000), job_id="big"))
        used = client._redis.info("memory")["used_memory"] - before
        polls = [timed(lambda: client.get("big")) * 1000 for _ in range(200)]
        client._redis.flushdb()
    return {"submit_s": submit, "poll_p50_ms": statistics.median(polls), "redis_mb": used / 1e6}


def import_ms(statement: str) -> float:
    """Return the least of five times that a fresh interpreter needs for a statement, less that for none."""

    def least(code: str) -> float:
        return min(timed(lambda: subprocess.run([sys.executable, "-c", code], check=True)) for _ in range(5)) * 1000

    return least(statement) - least("pass")


def measure(seeds: range, folder: Path) -> dict[str, Any]:
    """Return all figures of one run."""
    model = ROOT / "checkpoints"
    environment = {
        "SEEDMILL_CHECKPOINT": str(model / "best.pt"),
        "SEEDMILL_TOKENIZER": str(model / "tokenizer.json"),
    }
    loop = plain_loop(model, seeds, folder / "loop")
    with running_stack(folder / "stack") as stack:
        stack.start_servers()
        worker = stack.start_worker(environment)
        whole = service(stack, worker, seeds)
        lone = lone_seeds(stack)
        worker.stop()
        big = big_job(stack)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return {
        "machine": f"{platform.machine()}, {usable_cores()} cores, {versions}",
        "model": "demo checkpoint, fp32, CPU",
        "seeds": len(seeds),
        "plain_loop": loop,
        "service": whole,
        "service_to_loop": whole["seeds_per_s"] / loop["seeds_per_s"],
        "lone_seed": lone,
        "million_seeds": big,
        "import_producer_ms": import_ms("import producer"),
        "import_client_ms": import_ms("from producer import Client"),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1024)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(range(10_000, 10_000 + parser.parse_args().seeds), Path(folder))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "main_job.json").write_text(json.dumps(figures, indent=2) + "\n")
    table = Table("figure", "value")
    for name, value in figures.items():
        inner = value if isinstance(value, dict) else {"": value}
        for key, number in inner.items():
            table.add_row(f"{name} {key}".strip(), f"{number:.2f}" if isinstance(number, float) else str(number))
    Console().print(table)


if __name__ == "__main__":
    main()
