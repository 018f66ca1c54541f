"""A bench over several hosts: Redis and the object store on one, workers on others, clients on any."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.torture.bench import WAIT_S, Bench, kill
from tests.torture.hosts import Hosts, running_hosts
from tests.torture.stand_in import Plan
from worker.local import servers
from worker.local.process import Process
from worker.local.servers import Server
from worker.local.stack import ACCESS_KEY, SECRET_KEY, Endpoints

SERVERS = "a"
REDIS_PORT, S3_PORT = 6379, 9000
PASSWORD = "of these hosts"  # Redis lets in nobody from elsewhere without one
CHUNK = 8
"""Seeds of a chunk, and of a batch."""

IN_HAND = 5 * CHUNK
"""Seeds that a worker has in hand at most: it takes no more once it has those of four batches."""


class HostsBench(Bench):
    """Servers on the host of that name; ``lease_s`` is that of all workers."""

    def __init__(self, folder: Path, hosts: Hosts, lease_s: float) -> None:
        self.hosts = hosts
        self.lease_s = lease_s
        self.address = hosts.addresses[SERVERS]
        self.clients: list[Process] = []
        super().__init__(folder)

    def start_valkey(self) -> None:
        """Start Valkey on its host."""
        options = {
            "bind": self.address,
            "port": str(REDIS_PORT),
            "dir": str(self.folder),
            "requirepass": PASSWORD,
            "appendonly": "yes",
            "save": "",
        }
        words = [servers.valkey_program(), *(word for name, value in options.items() for word in (f"--{name}", value))]
        self.valkey = self._serve("Valkey", words, "Ready to accept connections", REDIS_PORT)

    def start_s3(self) -> None:
        """Start the S3 server on its host."""
        folder = self.folder / "s3"
        folder.mkdir(exist_ok=True)
        words = [servers.rclone_program(), "serve", "s3", str(folder), "--addr", f"{self.address}:{S3_PORT}"]
        self.s3 = self._serve("the S3 server", words, f"http://{self.address}:{S3_PORT}/", S3_PORT)

    def find(self) -> Endpoints:
        """Return where the servers are."""
        redis_url = f"redis://:{quote(PASSWORD)}@{self.address}:{REDIS_PORT}/0"
        return Endpoints(redis_url, f"http://{self.address}:{S3_PORT}")

    def worker_on(self, host: str, ms_per_seed: float) -> Process:
        """Start a worker on a host; returns when it takes messages."""
        return self.worker(
            Plan(ms_per_seed=ms_per_seed),
            within=self.hosts.within(host),
            SEEDMILL_LEASE_S=str(self.lease_s),
            SEEDMILL_MAX_BATCH=str(CHUNK),
            SEEDMILL_S3_TIMEOUT_S="10",
        )

    def submit_on(self, host: str, job_id: str, seeds: range) -> Process:
        """Have ``seedmill submit --wait`` on a host submit a job and wait for its end."""
        program = [sys.executable, "-c", "from producer.cli import main; main()"]
        words = ["submit", f"{seeds[0]}..{seeds[-1]}", "--id", job_id, "--wait", "--json"]
        process = Process(
            "the client",
            [*self.hosts.within(host), *program, *words],
            log=self.folder / f"{job_id}.log",
            environment={**self.endpoints.environment(), "SEEDMILL_CHUNK_SIZE": str(CHUNK)},
        )
        self.clients.append(process)
        return process

    def computed_by(self, worker: Process) -> int:
        """Return how many seeds a worker has computed."""
        if not self.computed.exists():
            return 0
        return Counter(line.split()[0] for line in self.computed.read_text().splitlines())[str(worker.pid)]

    def close(self) -> None:
        """End everything."""
        for client in self.clients:
            kill(client)
        super().close()

    def _serve(self, name: str, words: list[str], said: str, port: int) -> Server:
        keys = {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"', "RCLONE_CONFIG": "/dev/null"}
        within = self.hosts.within(SERVERS)
        process = Process(name, [*within, *words], log=self.folder / f"{port}.log", environment=keys)
        process.wait_ready(lambda: said in process.output(), timeout_s=WAIT_S)
        return Server(process, port)


@contextmanager
def running_hosts_bench(folder: Path, *names: str, lease_s: float) -> Iterator[HostsBench]:
    """Yield a bench whose servers run on a host of their own, beside hosts of these names; all end with the block.

    Raises:
        NoHosts: this machine cannot make hosts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with running_hosts(SERVERS, *names) as hosts:
        bench = HostsBench(folder, hosts, lease_s)
        try:
            yield bench
        finally:
            bench.close()
