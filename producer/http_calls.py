"""The clients' calls as HTTP requests, and what the API's answers mean; nothing is sent here.

One description serves the blocking and the asyncio client (producer/http_backend.py). An answer becomes a value, or a
:class:`Failure` that says which exception it is and whether the request may be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from producer import problems, records
from producer.contract import MAX_DEAD_LETTERS
from producer.dead import DeadLetter, check_limit
from producer.errors import JobNotFound, QueueFull, QueueUnreachable, RateLimited, SeedmillError, SettingsError
from producer.job import JobRecord
from producer.message import SeedResult
from producer.queue import QueueStatus
from producer.reconcile import Reconciliation
from producer.redaction import hide_credentials
from producer.submission import Submission
from producer.tracing import unpack

ANSWER_S = 10.0
"""Seconds that the API may take to answer, beyond those that it was asked to hold the answer for."""

RECONCILE_S = 60.0
"""Seconds that it may take to look through all jobs."""

MAX_PAUSE_S = 30.0
"""Longest ``Retry-After`` that is waited for; what takes longer, the caller is told."""

CHOSEN = {"chunk_size", "queue"}
"""Settings of the client that go with a job where they were given, and are the API's otherwise."""

RESULTS_PAGE = 1000
"""Results in one answer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``path`` is below the API's URL. A repeatable one may be sent again if its answer was lost."""

    method: str
    path: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    answer_s: float = ANSWER_S


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and how to read the JSON document that answers it."""

    request: Request
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of ``headers`` are looked up regardless of their case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Some results of a job, and the cursor of those after them; ``None`` for the last page."""

    results: Sequence[SeedResult]
    after: str | None


class Failure(Exception):
    """A request that failed: the exception that it is, and in how many seconds it may be sent again (``None``: not).

    0 leaves the pause to the one who sends.
    """

    def __init__(self, error: SeedmillError, pause_s: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause_s = pause_s


def submit(submission: Submission, trace: str) -> Call[JobRecord]:
    """Make a job; a repeat finds the one that was made."""
    body = _seeds(submission.seeds)
    if submission.force:
        body["force"] = True
    if submission.chosen_priority:
        body["priority"] = str(submission.chosen_priority)
    if submission.extras.metadata:
        body["metadata"] = json.loads(submission.extras.metadata)
    if submission.extras.webhook:
        body["webhook"] = submission.extras.webhook
    body |= {name: getattr(submission.settings, name) for name in CHOSEN & submission.settings.model_fields_set}
    return Call(Request("PUT", _job(submission.job_id), json=body, headers=unpack(trace)), JobRecord.from_dict)


def _seeds(seeds: Sequence[int]) -> dict[str, Any]:
    if isinstance(seeds, range) and seeds.step == 1:
        return {"range": f"{seeds[0]}..{seeds[-1]}"}
    return {"seeds": list(seeds)}


def read_job(job_id: str, hold_s: int = 0) -> Call[JobRecord]:
    """Read a job; the answer is held for ``hold_s`` seconds unless it has ended."""
    query = {"wait": hold_s} if hold_s else {}
    return Call(Request("GET", _job(job_id), query, answer_s=hold_s + ANSWER_S), JobRecord.from_dict)


def cancel_job(job_id: str) -> Call[JobRecord]:
    """Cancel a job, which does no harm twice."""
    return Call(Request("POST", f"{_job(job_id)}/cancel"), JobRecord.from_dict)


def results(job_id: str, after: str | None) -> Call[Page]:
    """Read the results after a cursor, or from the beginning."""
    query: dict[str, str | int] = {"limit": RESULTS_PAGE, **({} if after is None else {"after": after})}
    return Call(Request("GET", f"{_job(job_id)}/results", query), _page)


def _page(document: Any) -> Page:
    found = [SeedResult.from_dict(entry) for entry in document["data"]]
    return Page(found, str(document["next"]) if document["has_more"] else None)


def queue() -> Call[QueueStatus]:
    """Look at the queue."""
    return Call(Request("GET", "/v1/queue"), QueueStatus.from_dict)


def dead_letters(limit: int) -> Call[list[DeadLetter]]:
    """List the newest dead letters."""
    request = Request("GET", "/v1/dead-letters", {"limit": min(check_limit(limit), MAX_DEAD_LETTERS)})
    return Call(request, lambda document: [DeadLetter.from_dict(entry) for entry in document["data"]])


def dead_letter(letter_id: str) -> Call[DeadLetter]:
    """Read one dead letter."""
    return Call(Request("GET", _letter(letter_id)), DeadLetter.from_dict)


def replay(letter_id: str) -> Call[DeadLetter]:
    """Send a dead letter to the queue again; a repeat would not find it, so there is none."""
    return Call(Request("POST", f"{_letter(letter_id)}/replay", repeatable=False), DeadLetter.from_dict)


def purge(letter_id: str) -> Call[int]:
    """Forget one dead letter."""
    return Call(Request("DELETE", _letter(letter_id)), _purged)


def purge_all() -> Call[int]:
    """Forget all dead letters; a repeat would forget those that came meanwhile, so there is none."""
    return Call(Request("DELETE", "/v1/dead-letters", {"all": "true"}, repeatable=False), _purged)


def _purged(document: Any) -> int:
    return int(document["purged"])


def reconcile() -> Call[Reconciliation]:
    """Enqueue again what is in no list, which does no harm twice."""
    return Call(Request("POST", "/v1/reconcile", answer_s=RECONCILE_S), lambda document: Reconciliation(**document))


def _job(job_id: str) -> str:
    records.check_known(job_id)
    if "/" in job_id:  # of an app that sends messages itself; no path can say it
        raise JobNotFound(job_id)
    return f"/v1/jobs/{_segment(job_id)}"


def _letter(letter_id: str) -> str:
    return f"/v1/dead-letters/{_segment(letter_id)}"


def _segment(text: str) -> str:
    """Return ``text`` as one segment of a path, even if it is ``..``."""
    quoted = quote(text, safe="", errors="replace")
    return quoted.replace(".", "%2E") if text in (".", "..") else quoted


def read_answer(call: Call[T], answer: Answer, url: str) -> T:
    """Return what the API at ``url`` answered.

    Raises:
        Failure: it is no success, or not an answer of the API.
    """
    document = _document(answer)
    if 200 <= answer.status < 300:
        try:
            return call.read(document)
        except (AttributeError, KeyError, LookupError, TypeError, ValueError) as error:
            raise Failure(QueueUnreachable(_no_api(answer, url)), None) from error
    raise _failure(call.request, answer, document, url)


def _document(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _failure(request: Request, answer: Answer, document: Any, url: str) -> Failure:
    if 300 <= answer.status < 400:
        place = answer.headers.get("location", "another place")
        message = (
            f"{url} redirects to {hide_credentials(place)}: give the URL that the API really has (SEEDMILL_API_URL)"
        )
        return Failure(SettingsError(message), None)
    after_s = _retry_after_s(answer.headers.get("retry-after", ""))
    if not isinstance(document, dict) or not str(document.get("type", "")).startswith(problems.TYPE_PREFIX):
        document = {"detail": _no_api(answer, url)}
    error = problems.to_error(document, answer.status, after_s)
    return Failure(error, (after_s or 0) if _may_repeat(request, error) and (after_s or 0) <= MAX_PAUSE_S else None)


def _may_repeat(request: Request, error: SeedmillError) -> bool:
    """Whether a refused request may succeed later; of a full queue, the caller decides what that means."""
    if isinstance(error, QueueFull):
        return False
    return isinstance(error, RateLimited) or (isinstance(error, QueueUnreachable) and request.repeatable)


def _no_api(answer: Answer, url: str) -> str:
    return (
        f"{url} answered with status {answer.status}, but not as the API of seedmill does: "
        "is that its URL (SEEDMILL_API_URL), and is a proxy before it at fault?"
    )


def _retry_after_s(text: str) -> int | None:
    """Read a ``Retry-After``: seconds, or a date, as proxies write it; ``None`` if there is none."""
    if text.isascii() and text.isdecimal():
        return int(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0, round((moment - datetime.now(UTC)).total_seconds())) if moment.tzinfo else None
