"""The wire contract: what one side writes, the other reads, and so does Celery."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from producer.contract import (
    QUEUE,
    TASK_NAME,
    TERMINAL,
    JobStatus,
    Priority,
    SeedStatus,
    chunk_task_id,
    image_key,
    metadata_key,
    ticket,
)
from producer.message import (
    ChunkMessage,
    SeedResult,
    chunk_result,
    decode_chunk_results,
    encode_celery_result,
    revoked_result,
)

MESSAGE = ChunkMessage("job-1", "job-1", 0, (7, 8))
GOOD = SeedResult(
    7, SeedStatus.SUCCEEDED, "a caption", "s3://b/i", "s3://b/m", "ab", 256, 256, 999, "m-1", timings={"x_ms": 1.5}
)


def body(message: ChunkMessage) -> Any:
    return json.loads(json.loads(message.encode())["body"])


def test_a_message_names_the_task_and_carries_its_seeds() -> None:
    envelope = json.loads(MESSAGE.encode())
    assert envelope["headers"]["task"] == TASK_NAME
    assert envelope["headers"]["id"] == envelope["properties"]["correlation_id"] == "job-1"
    assert envelope["properties"]["delivery_info"] == {"exchange": "", "routing_key": QUEUE}
    assert body(MESSAGE)[:2] == [[], {"seeds": [7, 8], "job_id": "job-1", "chunk": 0}]


@pytest.mark.parametrize("name", ["café", 'a"b', "a\\b", "@job@", "a\\n@chunk@"])
def test_an_id_of_any_characters_arrives_as_it_was(name: str) -> None:
    message = ChunkMessage(name, name, 3, (7,), Priority.BULK)
    envelope = json.loads(message.encode())
    properties = envelope["properties"]
    assert {envelope["headers"][key] for key in ("id", "root_id")} == {name}
    assert {properties["correlation_id"], properties["delivery_tag"]} == {name}
    assert (body(message)[1], properties["priority"]) == ({"seeds": [7], "job_id": name, "chunk": 3}, 9)


def test_a_ticket_is_never_taken_for_a_message() -> None:
    assert ticket("j") == "job j"
    assert MESSAGE.encode().startswith("{")


def test_a_job_of_one_message_has_the_jobs_id_as_task_id() -> None:
    assert chunk_task_id("j", 0, 1) == "j"
    assert [chunk_task_id("j", n, 3) for n in range(3)] == ["j.0", "j.1", "j.2"]


def test_a_seed_result_survives_its_journey() -> None:
    failed = SeedResult.failure(8, ValueError("no"), timings={"generate_ms": 2.0})
    text = encode_celery_result("job-1", "SUCCESS", chunk_result(MESSAGE, [GOOD, failed]))
    assert list(decode_chunk_results([text])) == [GOOD, failed]
    assert failed.error == {"type": "ValueError", "message": "no"}


def test_a_failure_without_words_still_says_something() -> None:
    assert SeedResult.failure(8, KeyError()).error == {"type": "KeyError", "message": "KeyError()"}


def test_a_long_reason_is_cut() -> None:
    assert len(str(SeedResult.failure(8, ValueError("x" * 10**6)).error)) < 3000


def test_fields_of_a_newer_schema_are_ignored() -> None:
    assert SeedResult.from_dict({**GOOD.to_dict(), "invented_later": 1}) == GOOD


def test_a_chunk_result_counts_both_fates() -> None:
    value = chunk_result(MESSAGE, [GOOD, SeedResult.failure(8, ValueError("no"))])
    assert (value["canceled"], chunk_result(MESSAGE, [GOOD])["canceled"]) == (0, 1)
    assert (value["succeeded"], value["failed"], value["job_id"]) == (1, 1, "job-1")


def test_chunks_without_a_result_yield_nothing() -> None:
    assert list(decode_chunk_results([None, revoked_result("job-1", "canceled")])) == []


def test_object_keys_sort_by_seed_and_keep_their_extensions() -> None:
    keys = [image_key("m", seed) for seed in (7, 42, 4294967295)]
    assert keys == sorted(keys)
    assert keys[1] == "m/seed_0000000042.png"
    assert metadata_key("m", 42) == "m/seed_0000000042.json"


@pytest.mark.parametrize("status", list(JobStatus))
def test_a_status_is_terminal_unless_work_is_left(status: JobStatus) -> None:
    assert status.is_terminal is (status not in {JobStatus.QUEUED, JobStatus.RUNNING})
    assert (status in TERMINAL) is status.is_terminal


def test_equal_results_are_equal() -> None:
    assert replace(GOOD, seed=9) != GOOD
