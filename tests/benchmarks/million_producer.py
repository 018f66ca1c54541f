"""The producer of the run of a million seeds: submits one job, polls it until it has ended, reads all of its results.

``python -m tests.benchmarks.million_producer SEEDS`` is a process of its own, so that its memory is that of a client
and of nothing else. Each line that it prints is JSON: a poll, or what a step has found.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from typing import Any

from producer import Client
from producer.client import Job
from producer.errors import QueueUnreachable

JOB_ID = "million"
POLL_S = 0.1
MANIFEST_S = 600.0
"""Seconds that a manifest is waited for."""
SHA256 = re.compile("[0-9a-f]{64}")


class Sequence:
    """Seeds as they come: each has to be the next one, with a SHA-256; ``digest`` tells two such sequences apart."""

    def __init__(self) -> None:
        self.count = 0
        self._digest = hashlib.sha256()

    def add(self, seed: int, sha256: str | None) -> None:
        """Take the next one."""
        if seed != self.count or not SHA256.fullmatch(sha256 or ""):
            raise ValueError(f"seed {self.count} was to come with a SHA-256, and seed {seed} came with {sha256!r}")
        self._digest.update(f"{seed} {sha256}\n".encode())
        self.count += 1

    @property
    def digest(self) -> str:
        """SHA-256 of all that has come."""
        return self._digest.hexdigest()


def say(action: str, **found: Any) -> None:
    """Print what was found."""
    print(json.dumps({"action": action, **found}), flush=True)


def follow(client: Client, started: float) -> Job:
    """Poll the job until it has ended; a queue that does not answer is asked again."""
    while True:
        asked = time.monotonic()
        try:
            job = client.get(JOB_ID)
        except QueueUnreachable:
            say("unreachable", at_s=asked - started, s=time.monotonic() - asked)
            continue
        say("polled", at_s=asked - started, ms=(time.monotonic() - asked) * 1000, done=job.counts.done)
        if job.status.is_terminal:
            return job
        time.sleep(POLL_S)


def read_results(job: Job) -> None:
    """Read the results page by page."""
    asked, sequence = time.monotonic(), Sequence()
    for result in job.results():
        sequence.add(result.seed, result.sha256)
    say("results read", s=time.monotonic() - asked, seeds=sequence.count, digest=sequence.digest)


def await_manifest(job: Job) -> None:
    """Wait until the manifest is written."""
    deadline = time.monotonic() + MANIFEST_S
    while job.refresh().manifest_uri is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no manifest of job {job.id} within {MANIFEST_S} s of its results")
        time.sleep(POLL_S)
    assert job.record.completed_at is not None
    say("manifest written", uri=job.manifest_uri, since_end_s=time.time() - job.record.completed_at.timestamp())


def main() -> None:
    """Submit, poll and read."""
    seeds = range(int(sys.argv[1]))
    with Client() as client:
        client.queue()  # connected
        started = time.monotonic()
        client.submit(seeds, job_id=JOB_ID)
        say("submitted", s=time.monotonic() - started)
        job = follow(client, started)
        say("ended", s=time.monotonic() - started, status=str(job.status), counts=job.to_dict()["counts"])
        await_manifest(job)
        read_results(job)


if __name__ == "__main__":
    main()
