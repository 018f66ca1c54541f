"""A stack that serves the page, whose servers may be killed, with a worker that is a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.page.browser import Site
from tests.torture.bench import Bench
from tests.torture.stand_in import Plan
from worker.local.process import Process
from worker.local.servers import Server, start_api


class Mill(Bench):
    """Valkey, an S3 server, the API, and a worker that goes by a plan."""

    def __init__(self, folder: Path, plan: Plan | None = None) -> None:
        super().__init__(folder)
        self.api: Server
        self.start_api()
        self.hands: Process = self.worker(plan)

    def start_api(self) -> None:
        """Start the API, on the port that it had before."""
        port = self.api.port if hasattr(self, "api") else 0
        self.api = start_api(self.folder, self.endpoints.environment(), port=port)

    @property
    def site(self) -> Site:
        """Where the page is."""
        return Site(f"http://127.0.0.1:{self.api.port}", self.endpoints.s3_url)

    def close(self) -> None:
        """End everything."""
        self.api.process.stop()
        super().close()


@contextmanager
def running_mill(folder: Path, plan: Plan | None = None) -> Iterator[Mill]:
    """Yield a stack in this folder; it ends with the block."""
    mill = Mill(folder, plan)
    try:
        yield mill
    finally:
        mill.close()
