"""A bench whose S3 server keeps all objects in one file, for more of them than rclone bears: see packed_s3.py."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.torture.bench import Bench
from worker.local.process import Process, answers, free_port
from worker.local.servers import Server

READY_S = 120.0
"""Longest time that it takes to start, and to find again what it had."""


def start_packed(folder: Path, logs: Path, *, port: int = 0) -> Server:
    """Start the S3 server with one file in ``folder``; returns when it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = free_port(port)
    command = [sys.executable, "-m", "tests.benchmarks.packed_s3", "--folder", str(folder), "--port", str(chosen)]
    process = Process("the S3 server", command, log=logs / "s3.log")
    process.wait_ready(lambda: answers(chosen), timeout_s=READY_S)
    return Server(process, chosen)


class PackedBench(Bench):
    """A bench with such a server."""

    def start_s3(self) -> None:
        """Start it, on the port that it had before, with what its file has."""
        port = self.s3.port if hasattr(self, "s3") else 0
        self.s3 = start_packed(self.folder / "s3", self.folder, port=port)
