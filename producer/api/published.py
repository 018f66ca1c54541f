"""Pictures by their seed: which model's is meant, what the bucket has of it, and what to say where it is not there."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from producer.api.bucket import Bucket
from producer.api.metadata import StoredMetadata, parse_metadata
from producer.api.pictures import Pictures
from producer.api.problem import ProblemError
from producer.api.workers import Workers
from producer.contract import DEFAULT_QUEUE, MAX_SEED, image_key, metadata_key
from producer.errors import InvalidSeed, QueueError
from producer.seeds import shorten

SEED = re.compile("[0-9]{1,10}")
WHOLE_SECONDS = timedelta(seconds=2)
"""A store tells of whole seconds, the gallery of less; but it may list a picture long after it was published."""
MAX_METADATA_BYTES = 1_000_000
MAX_PICTURE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """The picture that is asked for; ``is_named``: the caller named its model."""

    seed: int
    model_id: str
    is_named: bool

    @property
    def image_key(self) -> str:
        """Object key of the picture."""
        return image_key(self.model_id, self.seed)

    @property
    def metadata_key(self) -> str:
        """Object key of its metadata."""
        return metadata_key(self.model_id, self.seed)


class Published:
    """Looks for pictures in the bucket.

    Args:
        bucket: where they are.
        workers: whose model is meant where none is named.
        pictures: what the gallery knows of them.
    """

    def __init__(self, bucket: Bucket, workers: Workers, pictures: Pictures) -> None:
        self._bucket = bucket
        self._workers = workers
        self._pictures = pictures

    async def choose(self, seed: str, model_id: str | None) -> Asked:
        """Return which picture is meant by the text of a seed, and by a model's id if one was named.

        Raises:
            InvalidSeed: it is none.
            ProblemError: no model is known.
        """
        if not (SEED.fullmatch(seed) and int(seed) <= MAX_SEED):
            raise InvalidSeed(f"{shorten(seed)} is not a seed: a whole number from 0 to {MAX_SEED}")
        chosen = model_id or await self._workers.model()
        if chosen is None:
            raise _not_published(int(seed), "no worker was ever seen here, and no model named")
        return Asked(int(seed), chosen, model_id is not None)

    async def check(self, asked: Asked) -> None:
        """Raise the :class:`ProblemError` of a picture that is not there."""
        if not await self._bucket.has(asked.metadata_key):
            raise await self._absent(asked)

    async def metadata(self, asked: Asked) -> StoredMetadata:
        """Return the metadata of a picture.

        Raises:
            ProblemError: there is none, or it cannot be read.
        """
        return (await self._read(asked))[0]

    async def details(self, asked: Asked) -> dict[str, Any]:
        """Return what is known of a picture, as it is answered, but without URLs.

        Raises:
            ProblemError: as :meth:`metadata`.
        """
        metadata, published_at = await self._read(asked)
        timings: dict[str, float] = {}
        with suppress(QueueError):  # the gallery is an index, and may be away; the bucket has the picture
            if (fact := await self._pictures.fact(asked.model_id, asked.seed)) is not None:
                listed_at, timings = fact
                published_at = listed_at if listed_at - published_at < WHOLE_SECONDS else published_at
        return {
            "seed": asked.seed,
            "model_id": asked.model_id,
            "caption": metadata.caption,
            "published_at": published_at.isoformat(timespec="milliseconds"),
            "timings": timings,
            **metadata.image.model_dump(),
            "image_uri": self._bucket.uri(asked.image_key),
            "metadata_uri": self._bucket.uri(asked.metadata_key),
        }

    async def png(self, asked: Asked, metadata: StoredMetadata) -> bytes:
        """Return the bytes of a picture, which are those that its metadata names.

        Raises:
            ProblemError: they are not.
        """
        found = await self._bucket.read(asked.image_key, MAX_PICTURE_BYTES, is_file=True)
        if found is not None and found.content is None:
            raise ProblemError(
                "body-too-large",
                f"the picture has more than {MAX_PICTURE_BYTES} bytes, the most that are handed through: "
                f"GET /v1/images/{asked.seed} leads to it",
            )
        if found is None or found.content is None or found.sha256 != metadata.image.sha256:
            what = "there is no picture" if found is None else "the picture is not the one"
            raise _damaged(asked, f"{what} that the metadata tells of")
        return found.content

    async def _read(self, asked: Asked) -> tuple[StoredMetadata, datetime]:
        found = await self._bucket.read(asked.metadata_key, MAX_METADATA_BYTES)
        if found is None:
            raise await self._absent(asked)
        metadata = parse_metadata(found.content, asked.seed)
        if metadata is None:
            raise _damaged(asked, "its metadata cannot be read: it is damaged, or of a later release")
        return metadata, found.modified

    async def _absent(self, asked: Asked) -> ProblemError:
        seed, model = asked.seed, asked.model_id
        workers = (await self._workers.status()).workers
        queues = {one.get("queue", DEFAULT_QUEUE) for one in workers if one["model_id"] == model}
        if asked.is_named and not queues:
            detail = f"model {model} has not published the picture of seed {seed}, and no worker that has it is seen"
            return ProblemError("not-published", f"{detail}: start one, or leave model out")
        elsewhere = asked.is_named and self._workers.queue not in queues
        return _not_published(seed, f"model {model} has not published it", min(queues) if elsewhere else "")


def _not_published(seed: int, why: str, queue: str = "") -> ProblemError:
    """Return the problem, with the order that mends it: to the API's own queue, or to the one that has the model."""
    body = {"seed": seed, **({"queue": queue} if queue else {})}
    order = {"method": "POST", "href": "/v1/jobs", "body": body}
    detail = f"the picture of seed {seed} is not published, since {why}: send POST /v1/jobs with {json.dumps(body)}"
    return ProblemError("not-published", detail, enqueue=order)


def _damaged(asked: Asked, what: str) -> ProblemError:
    hint = f"python -m worker verify {asked.seed} tells more, and a job with force makes it again"
    return ProblemError("not-published", f"seed {asked.seed} of model {asked.model_id}: {what}; {hint}")
