"""The manifest of a job: one line of JSON per seed in the bucket, written once the job has ended.

Jobs that have ended stand in a list in Redis until their manifest is written (producer/scripts/finish_chunk.lua puts
them there in the step that ends them). A worker takes one for some time, so that another does it should that worker
die; written twice it is the same bytes. Results are read page by page and spooled to the disk: memory does not grow
with the job.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import IO, Protocol

import structlog

from producer import records
from producer.client import Client
from producer.contract import MANIFEST_CONTENT_TYPE, manifest_key
from producer.errors import JobNotFound, QueueError, ResultsLost
from producer.lua import Call
from producer.message import SeedResult
from producer.submission import JOB_ID
from worker.errors import StorageError

log = structlog.get_logger(__name__)

CLAIM_S = 120.0
"""Seconds after which another worker writes a manifest that one has begun."""

SPOOL_BYTES = 4_000_000
"""Manifests up to this size are made in memory."""

VARYING = ("timings", "cached")
"""What differs between two runs of one job; manifests are without."""


class Store(Protocol):
    """What is needed of an object store; :class:`worker.storage.ObjectStore` is one."""

    def put_file(
        self, key: str, file: IO[bytes], content_type: str, *, progress: Callable[[int], object] | None = None
    ) -> None:
        """Write what is in ``file`` under ``key``; ``progress`` is called now and then, and may raise."""
        ...

    def uri(self, key: str) -> str:
        """Return the address of ``key``."""
        ...


class ManifestWriter:
    """Writes the manifests that are due.

    Args:
        client: where the jobs are.
        store: where manifests go.
    """

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._store = store
        self._stopping = False

    def stop(self) -> None:
        """Leave what is being written, soon, and begin no more: other workers will."""
        self._stopping = True

    def write_due(self) -> int:
        """Write every manifest that is due; returns how many that were.

        One that cannot be written is told in the log, and tried again when its claim has run out.
        """
        written = 0
        while not self._stopping and (claim := self._call(records.claim_manifest(CLAIM_S))):
            try:
                written += self._write(Claim(self, claim))
            except Left:
                log.info("manifest left to another", action="manifest_left", job_id=claim.job_id)
            except (StorageError, QueueError) as error:
                log.error("manifest not written", action="manifest_failed", job_id=claim.job_id, error=str(error))
        return written

    def _write(self, claim: Claim) -> int:
        job_id = claim.record.job_id
        try:
            job = self._client.get(job_id)
            whole = job.status.is_terminal and job.counts.done == job.counts.total
            if not (whole and JOB_ID.fullmatch(job_id)):
                return self._settle(claim, "it runs again, was cancelled, or has an odd id")
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as file:
                seeds = _write_lines(file, job.results(), claim.keep)
                file.seek(0)
                key = manifest_key(job_id)
                self._store.put_file(key, file, MANIFEST_CONTENT_TYPE, progress=claim.keep)
        except (JobNotFound, ResultsLost, ValueError, LookupError, TypeError) as error:
            return self._settle(claim, str(error) or type(error).__name__)
        self._client._run(records.settle_manifest(claim.record, uri=self._store.uri(key)))
        log.info("manifest written", action="manifest_written", job_id=job_id, seeds=seeds)
        return 1

    def _settle(self, claim: Claim, reason: str) -> int:
        log.warning("no manifest for it", action="manifest_dropped", job_id=claim.record.job_id, reason=reason)
        self._client._run(records.settle_manifest(claim.record, uri=""))
        return 0

    def _call(self, call: Call) -> records.Claim | None:
        return records.Claim.parse(self._client._run(call))


class Claim:
    """What a writer has claimed, which it keeps while it goes on."""

    def __init__(self, writer: ManifestWriter, record: records.Claim) -> None:
        self.record = record
        self._writer = writer
        self._renewed = time.monotonic()

    def keep(self, *_: object) -> None:
        """Renew it if that is time; called often.

        Raises:
            Left: the worker is stopping, or another has claimed it.
        """
        if self._writer._stopping:
            raise Left
        if time.monotonic() - self._renewed > CLAIM_S / 4:
            renewed = self._writer._call(records.renew_manifest(self.record, CLAIM_S))
            if renewed is None:
                raise Left
            self.record, self._renewed = renewed, time.monotonic()


class Left(Exception):
    """A manifest is another's to write."""


def manifest_line(result: SeedResult) -> bytes:
    """Return one seed's line: what its result says, but for what is empty or differs from run to run."""
    facts = {name: value for name, value in result.to_dict().items() if value is not None and name not in VARYING}
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _write_lines(file: IO[bytes], results: Iterable[SeedResult], keep: Callable[[], object]) -> int:
    number = 0
    for result in results:
        file.write(manifest_line(result))
        number += 1
        keep()
    return number
