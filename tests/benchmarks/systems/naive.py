"""What the tutorials write around a model: Pillow's PNG as it comes, and two puts with boto3.

Shared by the systems that seedmill is compared with. boto3 is as it comes too, but for a pool of connections that is
large enough for the threads that use it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config
from PIL import Image

from producer.contract import image_key, metadata_key
from worker.model.generated import Generated

THREADS = 8
"""Pictures encoded and uploaded side by side, where a system does that; as many as seedmill's default."""


class Uploader:
    """Encodes and uploads results under a prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._bucket = os.environ["SEEDMILL_S3_BUCKET"]
        self._s3: Any = boto3.client("s3", config=Config(max_pool_connections=2 * THREADS))
        self._pool = ThreadPoolExecutor(THREADS)

    def upload(self, generated: Generated) -> dict[str, Any]:
        """Write picture and metadata of one seed; returns what is known of it."""
        seed = generated.seed
        picture = image_key(self._prefix, seed)
        buffer = io.BytesIO()
        Image.fromarray(generated.pixels).save(buffer, "PNG")
        facts = {"seed": seed, "caption": generated.caption, "image": picture}
        self._put(picture, buffer.getvalue(), "image/png")
        self._put(metadata_key(self._prefix, seed), json.dumps(facts).encode(), "application/json")
        return facts

    def upload_all(self, results: Sequence[Generated]) -> list[dict[str, Any]]:
        """Do the same for a batch, on threads."""
        return list(self._pool.map(self.upload, results))

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type)
