"""Whether a run of a million seeds has made what it says: manifest, objects, what was computed, what Redis keeps."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import boto3

from producer.contract import (
    CELERY_RESULT_PREFIX,
    CHUNKS_KEY_PREFIX,
    EVENTS_KEY_PREFIX,
    GALLERY_KEY,
    KNOWN_KEY_PREFIX,
    PICTURES_KEY,
    image_key,
    manifest_key,
    metadata_key,
)
from tests.benchmarks.million_producer import JOB_ID, Sequence
from tests.benchmarks.packed_s3 import stored
from tests.torture.bench import Bench
from tests.torture.stand_in import MODEL_ID

DIGEST_BYTES = 32
SEED = re.compile(r"/seed_(\d{10})\.")
KINDS = {
    "results": (CELERY_RESULT_PREFIX,),
    "facts of chunks": (CHUNKS_KEY_PREFIX,),
    "events": (EVENTS_KEY_PREFIX,),
    "index of what is published": (KNOWN_KEY_PREFIX,),
    "gallery": (PICTURES_KEY, GALLERY_KEY),
}
"""What Redis keeps, by the beginnings of its keys."""
PAGE = 1000


class Manifest(NamedTuple):
    """A manifest that has each seed once, in order; ``sums`` has the SHA-256 of all pictures, one after another."""

    figures: dict[str, Any]
    digest: str
    sums: bytearray


def read_manifest(bench: Bench, seeds: int) -> Manifest:
    """Read it line by line; raises ValueError where it is not what it should be."""
    settings = bench.store.settings
    s3: Any = boto3.client("s3", **settings.client_options())
    body = s3.get_object(Bucket=settings.s3_bucket, Key=manifest_key(JOB_ID))["Body"]
    sequence, sums, size = Sequence(), bytearray(), 0
    for line in body.iter_lines(1 << 20):
        facts = json.loads(line)
        sequence.add(facts["seed"], facts["sha256"])
        sums += bytes.fromhex(facts["sha256"])
        size += len(line) + 1
    if sequence.count != seeds:
        raise ValueError(f"the manifest has {sequence.count} lines for {seeds} seeds")
    return Manifest({"manifest_lines": sequence.count, "manifest_mb": round(size / 1e6, 1)}, sequence.digest, sums)


def check_objects(file: Path, manifest: Manifest) -> dict[str, int]:
    """Hold every picture and its metadata, as they were last written, to the manifest; counts those written again."""
    seeds = len(manifest.sums) // DIGEST_BYTES
    pictures, named = bytearray(len(manifest.sums)), bytearray(len(manifest.sums))
    puts, size = array("B", bytes(seeds)), 0
    for key, body in stored(file):
        match = SEED.search(key)
        if match is None:
            continue
        seed = int(match[1])
        place = slice(seed * DIGEST_BYTES, (seed + 1) * DIGEST_BYTES)
        size += len(body)
        if key == image_key(MODEL_ID, seed):
            pictures[place] = hashlib.sha256(body).digest()
            puts[seed] += 1
        elif key == metadata_key(MODEL_ID, seed):
            named[place] = bytes.fromhex(json.loads(body)["image"]["sha256"])
    for seed in range(seeds):
        place = slice(seed * DIGEST_BYTES, (seed + 1) * DIGEST_BYTES)
        if not pictures[place] == named[place] == manifest.sums[place]:
            raise ValueError(f"the picture of seed {seed} is not what its metadata and the manifest say")
    return {"pictures_whole": seeds, "pictures_put_again": sum(puts) - seeds, "bytes_a_seed": size // seeds}


def computed(log: Path, seeds: int) -> dict[str, int]:
    """Return how many seeds the device was at, and how often it was at one again."""
    times = array("B", bytes(seeds))
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            times[int(line.split()[1])] += 1
    return {"runs": sum(times), "never": times.count(0), "twice": sum(times) - seeds + times.count(0)}


def redis_by_kind(redis: Any) -> dict[str, Any]:
    """Return how many keys of each kind Redis has, and how many bytes they take."""
    keys: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    page: list[str] = []
    for key in redis.scan_iter(count=PAGE):
        page.append(key)
        if len(page) == PAGE:
            _count(redis, page, keys, taken)
            page.clear()
    _count(redis, page, keys, taken)
    return {kind: {"keys": keys[kind], "mb": round(taken[kind] / 1e6, 1)} for kind in keys}


def _count(redis: Any, page: list[str], keys: Counter[str], taken: Counter[str]) -> None:
    pipe = redis.pipeline(transaction=False)
    for key in page:
        pipe.memory_usage(key)
    for key, size in zip(page, pipe.execute(), strict=True):
        kind = _kind(key)
        keys[kind] += 1
        taken[kind] += size or 0


def _kind(key: str) -> str:
    return next((kind for kind, starts in KINDS.items() if key.startswith(starts)), "the rest")
