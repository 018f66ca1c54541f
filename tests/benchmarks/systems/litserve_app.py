"""A LitServe server of the model: ``python -m tests.benchmarks.systems.litserve_app PORT WORKERS BATCH_TIMEOUT_S``."""

from __future__ import annotations

import sys
from typing import Any

from litserve import LitAPI, LitServer

from tests.benchmarks.devices import spec_of_environment
from tests.benchmarks.systems.naive import Uploader
from worker.machine import usable_cores

BATCH = 32


class SeedAPI(LitAPI):  # type: ignore[misc]  # no types
    """A seed in, facts out."""

    def __init__(self, workers: int, **options: Any) -> None:
        super().__init__(**options)
        self._threads = max(1, usable_cores() // workers)

    def setup(self, device: str) -> None:
        """Load the model in an inference worker; those share the cores."""
        self._model = spec_of_environment().load(self._threads)
        self._uploader = Uploader("litserve")

    def decode_request(self, request: dict[str, int]) -> int:
        """Return the seed."""
        return request["seed"]

    def batch(self, inputs: list[int]) -> list[int]:
        """Return the batch as it is."""
        return inputs

    def predict(self, seeds: list[int]) -> list[dict[str, Any]]:
        """Make a batch, and encode and upload it on threads."""
        return self._uploader.upload_all(self._model.generate(seeds))

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the results as they are."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return what is sent."""
        return output


def main() -> None:
    """Serve until told to stop."""
    port, workers, batch_timeout_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    api = SeedAPI(workers, max_batch_size=BATCH, batch_timeout=batch_timeout_s)
    server = LitServer(api, accelerator="cpu", devices=1, workers_per_device=workers, timeout=False)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
