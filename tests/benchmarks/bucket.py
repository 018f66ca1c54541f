"""The bucket as the benchmark sees it: is everything there that a system says it has made, and is it what it should be?

A figure of a run that does not pass is void. What a run has written is then removed, so that all find it alike.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import boto3
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.benchmarks.systems.base import System
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

Expected = Mapping[int, NDArray[np.uint8]]
"""Pixels of the seeds that are looked at closely."""

DELETED_AT_ONCE = 1000


class Bucket:
    """Reads and clears the bucket of a stack."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._name = endpoints.bucket
        self._store = ObjectStore(endpoints.storage())
        self._store.ensure_bucket()
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=endpoints.s3_url,
            region_name="us-east-1",
            aws_access_key_id=endpoints.access_key,
            aws_secret_access_key=endpoints.secret_key,
        )

    def check(self, system: System, seeds: Sequence[int], expected: Expected) -> None:
        """Raise AssertionError unless there are two objects for each seed, and some pictures are right to the pixel."""
        there = set(self._store.keys(f"{system.model_id}/"))
        missing = [seed for seed in seeds if not there >= set(system.keys(seed))]
        assert not missing, f"{system.name}: {len(missing)} of {len(seeds)} seeds are not in the bucket"
        for seed in set(seeds) & set(expected):
            picture, metadata = system.keys(seed)
            with Image.open(io.BytesIO(self._store.get(picture))) as image:
                assert image.format == "PNG", f"{system.name}: the picture of seed {seed} is no PNG"
                assert np.array_equal(np.asarray(image), expected[seed]), f"{system.name}: seed {seed} has other pixels"
            assert json.loads(self._store.get(metadata))["seed"] == seed

    def size(self, key: str) -> int:
        """Return how many bytes an object has that is there."""
        found = self._store.size(key)
        assert found is not None, f"{key} is not in the bucket"
        return found

    def clear(self, system: System) -> None:
        """Remove what a system has written, and have it forget that."""
        system.forget()
        keys = [{"Key": key} for key in self._store.keys(f"{system.model_id}/")]
        for start in range(0, len(keys), DELETED_AT_ONCE):
            self._s3.delete_objects(Bucket=self._name, Delete={"Objects": keys[start : start + DELETED_AT_ONCE]})
