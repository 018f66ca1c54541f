"""What is published, as the bucket itself tells it: the metadata objects, newest first, and the captions in them.

For whoever makes the gallery anew; nothing is written. boto3 comes with the extra ``s3``. Knows nothing of Redis.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from producer.contract import MAX_SEED, metadata_key
from producer.errors import ExtraMissing, SettingsError
from producer.gallery import MODEL_PATTERN
from producer.redaction import one_line
from producer.seeds import shorten
from producer.settings import BucketSettings

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as error:
    raise ExtraMissing(f"listing the bucket needs boto3 ({error}): pip install boto3") from error

KEY = re.compile(f"({MODEL_PATTERN})/seed_([0-9]{{10}})\\.json")
MAX_METADATA_BYTES = 1_000_000
"""Longest metadata object that is read."""
ABSENT = {"NoSuchKey", "404", "NotFound"}


@dataclass(frozen=True, slots=True)
class Listed:
    """A seed whose metadata is in the bucket, since when."""

    model_id: str
    seed: int
    modified: datetime

    @property
    def rank(self) -> tuple[datetime, str, int]:
        """What they are sorted by: time first, and no two are equal."""
        return self.modified, self.model_id, self.seed


class BucketListing:
    """Reads the bucket; safe to use from many threads.

    Args:
        settings: the bucket and its prefix, and the keys; they need ``s3:ListBucket`` and ``s3:GetObject``. Without
            keys boto3's own chain is asked.
        connections: connections kept open at most.
    """

    def __init__(self, settings: BucketSettings, *, connections: int = 10) -> None:
        self._settings = settings
        with self._translated():
            self._s3: Any = boto3.session.Session().client(
                "s3",
                **settings.client_options(),
                config=Config(**settings.compatible(), max_pool_connections=connections),
            )

    def newest(self, most: int, model_id: str | None = None) -> list[Listed]:
        """Return what was published last, newest first, of all models or of one.

        Raises:
            SettingsError: ``model_id`` is none, or the bucket cannot be listed.
        """
        if model_id is not None and not re.fullmatch(MODEL_PATTERN, model_id):
            raise SettingsError(f"model={shorten(model_id)} is no model id: take one of seedmill queue --json")
        with self._translated():
            return heapq.nlargest(most, self._listed(model_id), key=lambda one: one.rank)

    def caption(self, listed: Listed) -> str | None:
        """Return the caption of a seed; ``None`` if its metadata has gone, or is none of ours.

        Raises:
            SettingsError: the bucket cannot be read.
        """
        key = self._settings.s3_prefix + metadata_key(listed.model_id, listed.seed)
        with self._translated():
            try:
                body = self._s3.get_object(Bucket=self._settings.s3_bucket, Key=key)["Body"]
            except ClientError as error:
                if _code(error) in ABSENT:
                    return None
                raise
            with body:
                document = body.read(MAX_METADATA_BYTES)
        try:
            facts = json.loads(document)
            caption = facts["caption"] if facts.get("seed", listed.seed) == listed.seed else None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        return caption if isinstance(caption, str) else None

    def _listed(self, model_id: str | None) -> Iterator[Listed]:
        prefix = self._settings.s3_prefix
        below = f"{prefix}{model_id}/seed_" if model_id else prefix
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._settings.s3_bucket, Prefix=below)
        for page in pages:
            for entry in page.get("Contents", ()):
                found = KEY.fullmatch(entry["Key"].removeprefix(prefix))
                if found and int(found[2]) <= MAX_SEED:
                    yield Listed(found[1], int(found[2]), entry["LastModified"])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        where = self._settings.s3_place
        try:
            yield
        except ClientError as error:
            raise SettingsError(f"{where} refuses ({_code(error)}): {one_line(error)}") from error
        except (BotoCoreError, ValueError) as error:
            raise SettingsError(f"{where} cannot be read: {one_line(error)}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
