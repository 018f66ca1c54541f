"""LitServe: HTTP in front of batches of 32, encoded and uploaded (eight threads) in the inference worker.

An inference worker alone leaves the device idle while it encodes, so two workers are tried as well, each with half the
cores; the batch timeout is short, since 64 requests are always under way and fill the batches anyway. The client is
urllib3 with 64 threads and connections kept open, which takes little of the CPU that all share.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import urllib3

from tests.benchmarks.systems.base import DONE_S, START_S, Mode, System
from worker.local.process import free_port

CLIENTS = 64


class LitServe(System):
    """One server process, one or two inference workers."""

    name = "litserve"
    choices: ClassVar[Sequence[Mapping[str, Any]]] = (
        {"workers": 1, "batch_timeout_s": 0.01},
        {"workers": 2, "batch_timeout_s": 0.01},
    )

    def start(self) -> None:
        """Start the server; it answers at /health once its workers have their models."""
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._http = urllib3.PoolManager(maxsize=CLIENTS, retries=False, timeout=DONE_S)
        argv = [sys.executable, "-m", "tests.benchmarks.systems.litserve_app", str(port)]
        argv += [str(self.options["workers"]), str(self.options["batch_timeout_s"])]
        server = self.launch(self.name, argv)
        server.wait_ready(self._is_healthy, timeout_s=START_S)

    def stop(self) -> None:
        """End the server and the client's threads."""
        super().stop()
        self._pool.shutdown()
        self._http.clear()

    def modes(self) -> Mapping[str, Mode]:
        """Return the one way: a request for each seed."""
        return {"": lambda seeds: [None for _ in self._pool.map(self.lone, seeds)].clear()}

    def lone(self, seed: int) -> None:
        """Ask for one seed and wait for the answer."""
        answer = self._http.request("POST", f"{self._url}/predict", json={"seed": seed})
        assert answer.status == 200, answer.data
        assert answer.json()["seed"] == seed

    def _is_healthy(self) -> bool:
        try:
            return bool(self._http.request("GET", f"{self._url}/health").status == 200)
        except urllib3.exceptions.HTTPError:
            return False
