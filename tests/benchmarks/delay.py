"""A proxy that adds a delay to each direction, in a process of its own: ``python -m tests.benchmarks.delay PORT MS``.

Prints its port. Its CPU time can so be told from that of the systems.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture.proxy import Proxy
from worker.local.process import Process

START_S = 20.0


@contextmanager
def delayed(port: int, delay_ms: float, folder: Path) -> Iterator[tuple[int, Process]]:
    """Yield the port of a proxy before ``port`` that adds so many milliseconds each way, and its process."""
    argv = [sys.executable, "-m", "tests.benchmarks.delay", str(port), str(delay_ms)]
    process = Process("the proxy", argv, log=folder / "logs" / "proxy.log", environment={"PYTHONUNBUFFERED": "1"})
    try:
        process.wait_ready(lambda: process.output().strip().isdigit(), timeout_s=START_S)
        yield int(process.output()), process
    finally:
        process.stop()


def main() -> None:
    """Forward until told to end."""
    proxy = Proxy(int(sys.argv[1]), delay_s=float(sys.argv[2]) / 1000)
    print(proxy.port)
    threading.Event().wait()


if __name__ == "__main__":
    main()
