"""Every exception of a call travels as a problem and comes back as what it was."""

from __future__ import annotations

import json

import pytest

from producer import errors, problems

ERRORS: dict[str, errors.SeedmillError] = {
    "invalid-seed": errors.InvalidSeed("-1 is not a seed"),
    "invalid-job-id": errors.InvalidJobId("'a b' is not a job id"),
    "invalid-uri": errors.InvalidUri("file:///x"),
    "invalid-setting": errors.SettingsError("chunk_size=0: too small"),
    "job-not-found": errors.JobNotFound("nobody"),
    "job-conflict": errors.JobConflict("mine"),
    "results-lost": errors.ResultsLost("mine"),
    "dead-letter-not-found": errors.DeadLetterNotFound("gone"),
    "replay-refused": errors.ReplayRefused("its job was canceled"),
    "unauthorized": errors.Unauthorized("no key"),
    "forbidden": errors.Forbidden("the scope 'admin' is needed"),
    "rate-limited": errors.RateLimited("10 a second", 3),
    "share-full": errors.QueueFull("your share is full", 5, share=True),
    "queue-full": errors.QueueFull("the queue is full", 7),
    "queue-unknown": errors.QueueUnknown("v9"),
    "queue-refused": errors.QueueRefused("out of memory"),
    "queue-unreachable": errors.QueueUnreachable("no answer"),
}


def test_no_row_is_left_out() -> None:
    assert ERRORS.keys() == problems.KINDS.keys()


@pytest.mark.parametrize(("name", "error"), ERRORS.items())
def test_an_error_comes_back_with_its_class_its_message_and_its_facts(name: str, error: errors.SeedmillError) -> None:
    sent = problems.of_error(error)
    assert sent.name == name
    read = problems.to_error(json.loads(json.dumps(sent.to_dict())), sent.status, sent.retry_after_s)
    assert (type(read), str(read)) == (type(error), str(error))
    for fact in ("job_id", "letter_id", "queue", "retry_after_s", "problem"):
        assert getattr(read, fact, None) == getattr(error, fact, None)


def test_what_is_no_exception_of_a_call_is_an_internal_error() -> None:
    assert problems.of_error(errors.ExtraMissing("boto3")).name == "internal-error"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.SettingsError),
        (429, errors.RateLimited),
        (500, errors.QueueRefused),
        (502, errors.QueueUnreachable),
        (503, errors.QueueUnreachable),
        *((status, errors.QueueUnreachable) for status in (408, 425, 504, 520, 521, 522, 523, 524)),
    ],
)
def test_a_problem_that_is_not_known_is_judged_by_its_status(status: int, kind: type[errors.SeedmillError]) -> None:
    error = problems.to_error({"type": "urn:seedmill:problem:of-tomorrow", "title": "New"}, status)
    assert (type(error), str(error)) == (kind, "New")
    assert str(problems.to_error({}, status)) == f"the API answered with status {status}"
