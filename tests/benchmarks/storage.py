"""What a call to the object store costs in this process, over boto3 and over our own requests.

``python -m tests.benchmarks.storage [--calls N]`` starts the embedded S3 server and calls it from one thread and from
eight. Both ways take turns, round after round, and the best round of each counts, since the machine is shared. CPU time
is that of the client process alone. Prints a table and writes ``results/storage.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from worker.local.stack import running_stack
from worker.s3.objects import BotoObjects
from worker.storage import ObjectStore

RESULTS = Path(__file__).with_name("results") / "storage.json"
SIZES = {"1 KB": 1_000, "55 KB": 55_000}
THREADS = (1, 8)
ROUNDS = 5
CONTENT_TYPE = "image/png"

Call = Callable[[ObjectStore, str], object]


def calls() -> Iterator[tuple[str, Call]]:
    """Yield what is measured; objects are there to be read when they are read."""
    for name, size in SIZES.items():
        data = os.urandom(size)
        yield f"put {name}", partial(_put, data)
    yield "get 55 KB", lambda store, key: store.get(key)
    yield "size", lambda store, key: store.size(key)


def _put(data: bytes, store: ObjectStore, key: str) -> None:
    store.put(key, data, CONTENT_TYPE)


def measure(store: ObjectStore, call: Call, threads: int, count: int) -> dict[str, float]:
    """Return CPU and wall milliseconds per call."""
    keys = [f"model/seed_{number:010d}.png" for number in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda key: call(store, key), keys[: 4 * threads]))  # opens the connections
        cpu, wall = time.process_time(), time.perf_counter()
        list(pool.map(lambda key: call(store, key), keys))
        spent = {"cpu_ms": time.process_time() - cpu, "wall_ms": time.perf_counter() - wall}
    return {name: seconds / count * 1000 for name, seconds in spent.items()}


def over_boto3(store: ObjectStore) -> ObjectStore:
    """Return the same store with every call over boto3's client."""
    other = ObjectStore(store.settings)
    other._opened = BotoObjects(other._s3, store.settings.s3_bucket)
    return other


def compare(store: ObjectStore, count: int) -> list[dict[str, Any]]:
    """Return a row for every call and number of threads."""
    ways = {"boto3": over_boto3(store), "ours": store}
    rows = []
    for what, call in calls():
        for threads in THREADS:
            rounds = [{name: measure(way, call, threads, count) for name, way in ways.items()} for _ in range(ROUNDS)]
            best = {name: min((each[name] for each in rounds), key=lambda spent: spent["cpu_ms"]) for name in ways}
            rows.append({"call": what, "threads": threads, **best})
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """Return the rows as a table."""
    shown = Table(title="milliseconds per call")
    for column in ("call", "threads", "boto3 CPU", "ours CPU", "boto3 wall", "ours wall"):
        shown.add_column(column, justify="left" if column == "call" else "right")
    for row in rows:
        figures = [row[way][kind] for kind in ("cpu_ms", "wall_ms") for way in ("boto3", "ours")]
        shown.add_row(row["call"], str(row["threads"]), *(f"{figure:.2f}" for figure in figures))
    return shown


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000, help="calls in a round")
    count = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder) / "stack") as stack:
        stack.start_servers()
        store = ObjectStore(stack.endpoints.storage())
        store.ensure_bucket()
        rows = compare(store, count)
    Console().print(table(rows))
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    RESULTS.write_text(json.dumps({**machine, "calls": count, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
