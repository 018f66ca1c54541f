"""What monitors are told of the end of a chunk."""

from __future__ import annotations

import threading

import pytest

from producer.attempts import Verdict
from producer.contract import SeedStatus
from producer.message import ChunkMessage, SeedResult, chunk_result
from worker.errors import GivenBack, InvalidMessage
from worker.monitoring.report import Report, begin, note, noted, tell

MESSAGE = ChunkMessage("j.2", "j", 2, (7, 8, 9))
GOOD = [SeedResult(seed, SeedStatus.SUCCEEDED) for seed in (7, 8)]


def test_a_chunk_whose_seeds_are_made_succeeded_with_its_counts() -> None:
    report = Report.finished(chunk_result(MESSAGE, [*GOOD, SeedResult(9, SeedStatus.SUCCEEDED)]))
    assert report.event == "task-succeeded"
    assert report.fields == {"result": "{'job_id': 'j', 'chunk': 2, 'succeeded': 3, 'failed': 0}"}


def test_a_chunk_with_a_failed_seed_failed_under_the_name_of_the_first_error() -> None:
    report = Report.finished(chunk_result(MESSAGE, [*GOOD, SeedResult.failure(9, ValueError("it's bad"))]))
    assert report.event == "task-failed"
    assert report.fields["exception"] == 'ValueError("1 of 3 seeds failed, the first: it\'s bad")'


def test_a_chunk_that_was_let_go_of_was_revoked_while_it_ran() -> None:
    report = Report.finished(chunk_result(MESSAGE, GOOD))
    assert (report.event, report.fields["terminated"]) == ("task-revoked", True)


@pytest.mark.parametrize(
    ("verdict", "event", "expired"),
    [
        (Verdict.CANCELED, "task-revoked", False),
        (Verdict.EXPIRED, "task-revoked", True),
        (Verdict.DONE, "task-succeeded", None),
    ],
)
def test_a_chunk_that_is_not_run_says_why(verdict: Verdict, event: str, expired: bool | None) -> None:
    report = Report.dropped(verdict)
    assert (report.event, report.fields.get("expired")) == (event, expired)


def test_a_refused_message_failed_and_a_chunk_given_back_is_tried_again() -> None:
    refused, back = Report.refused(InvalidMessage("no chunk")), Report.given_back(GivenBack("stopping"))
    assert (refused.event, refused.fields["exception"]) == ("task-failed", "InvalidMessage('no chunk')")
    assert (back.event, back.fields["exception"]) == ("task-retried", "GivenBack('stopping')")


def test_what_is_noted_is_of_one_thread() -> None:
    note(Report.dropped(Verdict.DONE))
    seen: list[Report | None] = []
    thread = threading.Thread(target=lambda: seen.append(noted()))
    thread.start()
    thread.join()
    assert seen == [None]
    begin(None)
    assert noted() is None


def test_what_cannot_wait_is_told_at_once_to_the_chunk_that_runs() -> None:
    told: list[Report] = []
    report = Report.given_back(GivenBack("stopping"))
    begin(told.append)
    tell(report)
    begin(None)
    tell(report)
    assert told == [report]
