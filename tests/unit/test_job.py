"""Reading a job's record."""

from __future__ import annotations

import time
from dataclasses import astuple

import pytest

from producer.contract import JobStatus, result_key
from producer.job import RESULT_PAGE_CHUNKS, JobRecord

NOW_MS = int(time.time() * 1000)


def record(now_ms: int = NOW_MS + 1000, position: int | None = None, **changes: object) -> JobRecord:
    fields = {
        "status": "running",
        "total": 10,
        "chunks": 1,
        "ttl_ms": 60_000,
        "running": 4,
        "succeeded": 2,
        "failed": 1,
        "created_ms": NOW_MS,
        "started_ms": NOW_MS + 10,
        "expires_ms": NOW_MS + 3_600_000,
    }
    texts = {name: str(value) for name, value in {**fields, **changes}.items()}
    return JobRecord.parse("j", texts, now_ms=now_ms, position=position)


def test_counts_add_up_to_the_total() -> None:
    counts = record().counts
    assert (counts.total, counts.queued, counts.running, counts.succeeded, counts.failed) == (10, 3, 4, 2, 1)
    assert sum(astuple(counts)[1:]) == counts.total
    assert counts.done == 3


def test_what_nobody_has_taken_of_a_canceled_job_is_canceled() -> None:
    counts = record(status="canceled").counts
    assert (counts.canceled, counts.queued, counts.running) == (3, 0, 4)
    assert sum(astuple(counts)[1:]) == counts.total


def test_a_record_past_its_lifetime_is_expired() -> None:
    assert record(expires_ms=NOW_MS - 1).status is JobStatus.EXPIRED


def test_times_not_reached_yet_are_none() -> None:
    seen = record()
    assert seen.completed_at is None
    assert seen.started_at is not None
    assert seen.to_dict()["completed_at"] is None


@pytest.mark.parametrize("chunks", [1, 2, RESULT_PAGE_CHUNKS, RESULT_PAGE_CHUNKS + 1, 1000])
def test_result_pages_name_every_chunk_once_in_order(chunks: int) -> None:
    pages = list(record(chunks=chunks).result_key_pages())
    keys = [key for page in pages for key in page]
    assert max(map(len, pages)) <= RESULT_PAGE_CHUNKS
    assert keys == ([result_key("j")] if chunks == 1 else [result_key(f"j.{n}") for n in range(chunks)])
