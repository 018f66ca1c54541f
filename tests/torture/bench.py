"""A stack to be tortured: real servers that can be killed, workers that can be killed, and the conservation check."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producer import Client
from producer.client import Job
from producer.connection import connect
from producer.contract import (
    DEAD_KEY,
    HELD_KEY_PREFIX,
    LANES,
    JobStatus,
    SeedStatus,
    held_key,
    image_key,
    metadata_key,
)
from producer.errors import JobTimeout
from producer.queue import parse_queue_status, queue_status
from tests.torture.stand_in import MODEL_ID, Plan
from worker.local.process import Process
from worker.local.servers import Server, start_s3, start_valkey
from worker.local.stack import ACCESS_KEY, SECRET_KEY, Endpoints
from worker.storage import ObjectStore

WAIT_S = 60.0


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> float:
    """Poll until ``condition()`` is true; returns the seconds that it took, and fails after the timeout."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return time.monotonic() - started


@dataclass
class Death:
    """The end of a worker: when, and what it held then."""

    at: float
    worker_id: str
    held: int


class Bench:
    """One Valkey, one S3 server, and as many workers as wanted, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.computed = folder / "computed.log"
        self.workers: list[Process] = []
        self.valkey: Server
        self.s3: Server
        self.start_valkey()
        self.start_s3()
        self.endpoints = self.find()
        self.store = ObjectStore(self.endpoints.storage())
        self.store.ensure_bucket()
        self.client = Client(self.endpoints.redis_url, chunk_size=4)
        self.redis: Any = connect(self.endpoints.redis_url)

    @property
    def redis_url(self) -> str:
        """Where clients and workers are told that Redis is."""
        return f"redis://127.0.0.1:{self.valkey.port}/0"

    def start_valkey(self) -> None:
        """Start Valkey, on the port that it had before, with what its append-only file has."""
        port = self.valkey.port if hasattr(self, "valkey") else 0
        self.valkey = start_valkey(self.folder / "valkey", self.folder, port=port)

    def start_s3(self) -> None:
        """Start the S3 server, on the port that it had before."""
        port = self.s3.port if hasattr(self, "s3") else 0
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        self.s3 = start_s3(self.folder / "s3", self.folder, port=port, **keys)

    def find(self) -> Endpoints:
        """Return where the servers are."""
        return Endpoints(self.redis_url, f"http://127.0.0.1:{self.s3.port}")

    def kill_valkey(self) -> None:
        """End Valkey without a word."""
        kill(self.valkey.process)

    def kill_s3(self) -> None:
        """End the S3 server without a word."""
        kill(self.s3.process)

    def worker(
        self,
        plan: Plan | None = None,
        *,
        port: int = 0,
        wait: bool = True,
        module: str = "tests.torture.stand_in",
        within: Sequence[str] = (),
        **more: str,
    ) -> Process:
        """Start a worker, through the proxy on ``port`` if one is given; returns when it takes messages.

        ``within`` are words before its command, which have it run elsewhere.
        """
        plan = plan or Plan()
        url = f"redis://127.0.0.1:{port}/0" if port else self.endpoints.redis_url
        environment = {
            **self.endpoints.environment(),
            **Plan(**{**vars(plan), "log": str(self.computed)}).environment(),
            "SEEDMILL_REDIS_URL": url,
            "SEEDMILL_S3_TIMEOUT_S": "2",
            "SEEDMILL_LOG_FORMAT": "json",
            "PYTHONUNBUFFERED": "1",
            **more,
        }
        log = self.folder / f"worker-{len(self.workers)}.log"
        process = Process("the worker", [*within, sys.executable, "-m", module], log=log, environment=environment)
        self.workers.append(process)
        if wait:
            process.wait_ready(lambda: self.is_ready(process), timeout_s=WAIT_S)
        return process

    @staticmethod
    def is_ready(process: Process) -> bool:
        """Return whether a worker has said that it takes messages."""
        return '"worker_ready"' in process.output()

    def actions(self, process: Process) -> list[dict[str, Any]]:
        """Return the lines of a worker's log that have an action."""
        return [json.loads(line) for line in process.output().splitlines() if '"action"' in line]

    def id_of(self, process: Process) -> str:
        """Return a worker's id."""
        return next(str(line["worker"]) for line in self.actions(process) if line["action"] == "worker_ready")

    def held_by(self, process: Process) -> int:
        """Return how many messages Redis says that a worker holds."""
        return int(self.redis.hlen(held_key(self.id_of(process))))

    def kill(self, process: Process) -> Death:
        """Kill a worker."""
        kill(process)
        return self.death_of(process)

    def death_of(self, process: Process) -> Death:
        """Return the death of a worker that has ended this moment."""
        at, worker_id = time.monotonic(), self.id_of(process)
        return Death(at, worker_id, int(self.redis.hlen(held_key(worker_id))))

    def redelivered_s(self, death: Death, timeout_s: float = 40.0) -> float:
        """Wait until what a dead worker held is in the queue again; returns the seconds since its death."""
        wait_until(lambda: not self.redis.exists(held_key(death.worker_id)), "redelivery", timeout_s)
        return time.monotonic() - death.at

    def computed_counts(self) -> Counter[int]:
        """Return how often each seed was computed."""
        if not self.computed.exists():
            return Counter()
        return Counter(int(line.split()[1]) for line in self.computed.read_text().splitlines())

    def messages(self) -> int:
        """Return how many messages there are, sent or with a ticket, in the queue and in the hands of workers."""
        call = queue_status()
        seen = parse_queue_status(self.redis.register_script(call.script)(keys=call.keys, args=call.args))
        return seen.waiting + sum(int(self.redis.hlen(key)) for key in self.redis.scan_iter(HELD_KEY_PREFIX + "*"))

    def check(self, job: Job, *, failed: Sequence[int] = (), timeout_s: float = WAIT_S) -> None:
        """Wait for a job and assert conservation: every seed has its fate, its objects are whole, nothing is left."""
        try:
            job.wait(timeout_s, check=False)
        except JobTimeout as error:
            self.tell_why(error)
            raise
        assert job.status is (JobStatus.FAILED if failed else JobStatus.SUCCEEDED), job
        results = list(job.results())
        assert len(results) == job.counts.total == job.counts.done
        assert sorted(r.seed for r in results if r.status is SeedStatus.FAILED) == sorted(failed)
        for result in results:
            if result.status is SeedStatus.SUCCEEDED:
                assert self.is_whole(result.seed, result.sha256), result
        wait_until(lambda: self.messages() == 0, "no message left", 10)

    def tell_why(self, error: JobTimeout) -> None:
        """Add to the error what there is to be done, and what each worker said last."""
        held = {key: self.redis.hlen(key) for key in self.redis.scan_iter(HELD_KEY_PREFIX + "*")}
        error.add_note(f"lanes: {[self.redis.llen(lane) for lane in LANES]}, held: {held}")
        for process in self.workers:
            if process.exit_status is None or process is self.workers[-1]:
                said = "\n".join(process.output().splitlines()[-30:])
                error.add_note(f"worker {process.pid}, exit status {process.exit_status}:\n{said}")

    def is_whole(self, seed: int, sha256: str | None) -> bool:
        """Return whether a seed's two objects are there and each is what the other and the result say."""
        facts = json.loads(self.store.get(metadata_key(MODEL_ID, seed)))
        png = self.store.get(image_key(MODEL_ID, seed))
        return bool(hashlib.sha256(png).hexdigest() == facts["image"]["sha256"] == sha256)

    def dead_letters(self) -> int:
        """Return how many dead letters there are."""
        return int(self.redis.hlen(DEAD_KEY))

    def close(self) -> None:
        """End everything."""
        for process in self.workers:
            if process.exit_status is None:
                os.kill(process.pid, signal.SIGCONT)
                kill(process)
        self.client.close()
        self.redis.close()
        self.s3.process.stop()
        self.valkey.process.stop()


def kill(process: Process) -> None:
    """End a process with SIGKILL and wait for its end."""
    process.signal(signal.SIGKILL)
    wait_until(lambda: process.exit_status is not None, "the end of a killed process", 10)


@contextmanager
def running_bench(folder: Path, kind: type[Bench] = Bench) -> Iterator[Bench]:
    """Yield a bench in this folder; it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    bench = kind(folder)
    try:
        yield bench
    finally:
        bench.close()
