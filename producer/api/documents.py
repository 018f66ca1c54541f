"""What the API answers of jobs and results: records and results in, JSON-ready values out.

Where else something is to be had of them, and URLs to open pictures with, are added here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from producer.contract import JobStatus, image_key, metadata_key
from producer.errors import InvalidUri, SettingsError
from producer.gallery import PublishedPicture
from producer.job import JobRecord
from producer.message import SeedResult, decode_chunk_results

log = structlog.get_logger(__name__)

T = TypeVar("T")

THREAD_RESULTS = 20
"""Results whose URLs are signed where they are needed; more of them in a thread."""


class Signer(Protocol):
    """Signs URLs; :class:`producer.presign.Presigner` does."""

    def url(self, s3_uri: str) -> str:
        """Return the URL under which the object can be read for a while."""


@dataclass(frozen=True, slots=True)
class SeenJob:
    """A job as it was read; of one with a single seed, that seed, and the text of its Celery result, if known."""

    record: JobRecord
    seed: int | None = None
    result: str | None = None


class Documents:
    """Writes jobs and results.

    Args:
        base: what stands before the path in an address.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self.signer: Signer | None = None
        """Set once there are keys to sign with."""

    def path(self, rest: str) -> str:
        """Return the address of something below /v1."""
        return f"{self._base}/v1/{rest}"

    def job(self, seen: SeenJob, *, whole: bool = False) -> dict[str, Any]:
        """Return a job as it is answered, ``whole`` with the result of its only seed once it has ended."""
        record = seen.record
        here = self.path(f"jobs/{record.id}")
        urls = {"self": here, **{name: f"{here}/{name}" for name in ("results", "events", "cancel")}}
        if seen.seed is not None:
            model = f"?model={record.model_id}" if record.model_id else ""  # so that it stays this model's
            urls["image"] = self.path(f"images/{seen.seed}{model}")
        found = decode_chunk_results([seen.result]) if whole and record.status.is_terminal else ()
        result = next((self._result(one) for one in found), None)
        more = {"webhook": record.webhook, "seed": seen.seed, "result": result, "urls": urls, "error": summary(record)}
        return {**record.to_dict(), **more}

    def renewed(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return a job that was answered before, with URLs that are signed now."""
        result = job.get("result")
        return {
            **job,
            "result": {**result, **self.urls(result["image_uri"], result["metadata_uri"])} if result else None,
        }

    async def results(self, found: Sequence[SeedResult]) -> list[dict[str, Any]]:
        """Return results as they are answered, with URLs that are signed now."""
        return await self._each(self._result, found)

    async def pictures(self, found: Sequence[PublishedPicture], uri: Callable[[str], str]) -> list[dict[str, Any]]:
        """Return pictures as they are answered, with URLs that are signed now; ``uri`` is that of a key."""

        def told(one: PublishedPicture) -> dict[str, Any]:
            keys = image_key(one.model_id, one.seed), metadata_key(one.model_id, one.seed)
            return {**one.to_dict(), **self.urls(*map(uri, keys))}

        return await self._each(told, found)

    async def _each(self, told: Callable[[T], dict[str, Any]], found: Sequence[T]) -> list[dict[str, Any]]:
        """Return what is told of each, in a thread where many URLs are signed."""
        if len(found) > THREAD_RESULTS and self.signer:
            return await asyncio.to_thread(lambda: [told(one) for one in found])
        return [told(one) for one in found]

    def _result(self, result: SeedResult) -> dict[str, Any]:
        return {**result.to_dict(), **self.urls(result.image_uri, result.metadata_uri)}

    def urls(self, image_uri: str | None, metadata_uri: str | None) -> dict[str, str | None]:
        """Return URLs that are signed now, under the names that answers have them by."""
        return {"image_url": self._sign(image_uri), "metadata_url": self._sign(metadata_uri)}

    def _sign(self, uri: str | None) -> str | None:
        if not (self.signer and uri):
            return None
        try:
            return self.signer.url(uri)
        except (SettingsError, InvalidUri) as error:  # keys that could not be had again, a URI of another release
            log.warning("a URL could not be signed", action="url_unsigned", uri=uri, error=str(error))
            return None


def summary(record: JobRecord) -> dict[str, str] | None:
    """Return why a job failed, in short; each seed's own reason is in its result."""
    if record.status is not JobStatus.FAILED:
        return None
    failed, total = record.counts.failed, record.counts.total
    return {"type": "SeedsFailed", "message": f"{failed} of {total} seeds failed: see the results for each reason"}
