"""The manifest of a job: one line of JSON per seed in the bucket, written once the job has ended.

Jobs that have ended stand in a list in Redis until their manifest is written (producer/scripts/finish_chunk.lua puts
them there in the step that ends them). A worker takes one for some time, so that another does it should that worker
die; written twice it is the same bytes. Results are read page by page and spooled to the disk: memory does not grow
with the job.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from typing import BinaryIO, Protocol

import structlog

from producer import records
from producer.client import Client
from producer.contract import MANIFEST_CONTENT_TYPE, manifest_key
from producer.errors import JobNotFound, ResultsLost
from producer.message import SeedResult

log = structlog.get_logger(__name__)

CLAIM_S = 120.0
"""Seconds after which another worker writes a manifest that one has begun."""

SPOOL_BYTES = 4_000_000
"""Manifests up to this size are made in memory."""

VARYING = ("timings", "cached")
"""What differs between two runs of one job; manifests are without."""


class Store(Protocol):
    """What is needed of an object store; :class:`worker.storage.ObjectStore` is one."""

    def put_file(self, key: str, file: BinaryIO, content_type: str) -> None:
        """Write what is in ``file`` under ``key``."""
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

    def write_due(self) -> int:
        """Write every manifest that is due; returns how many that were.

        Raises:
            StorageError, QueueError: it is tried again when the claim has run out.
        """
        written = 0
        while claim := records.Claim.parse(self._client._run(records.claim_manifest(CLAIM_S))):
            written += self._write(claim)
        return written

    def _write(self, claim: records.Claim) -> int:
        uri = self._store.uri(manifest_key(claim.job_id))
        try:
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as file:
                seeds = _write_lines(file, self._client.get(claim.job_id).results())
                file.seek(0)
                self._store.put_file(manifest_key(claim.job_id), file, MANIFEST_CONTENT_TYPE)  # type: ignore[arg-type]
        except (JobNotFound, ResultsLost) as error:
            log.warning("no manifest for it", action="manifest_dropped", job_id=claim.job_id, error=str(error))
            self._client._run(records.settle_manifest(claim, uri=""))
            return 0
        self._client._run(records.settle_manifest(claim, uri=uri))
        log.info("manifest written", action="manifest_written", job_id=claim.job_id, seeds=seeds)
        return 1


def manifest_line(result: SeedResult) -> bytes:
    """Return one seed's line: what its result says, but for what is empty or differs from run to run."""
    facts = {name: value for name, value in result.to_dict().items() if value is not None and name not in VARYING}
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _write_lines(file: tempfile.SpooledTemporaryFile[bytes], results: Iterable[SeedResult]) -> int:
    number = 0
    for result in results:
        file.write(manifest_line(result))
        number += 1
    return number
