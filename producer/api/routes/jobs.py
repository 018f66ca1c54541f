"""Jobs: submit, follow, page through, cancel."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import WithJsonSchema

from producer import records
from producer.api import schemas
from producer.api.access import Read, Submit
from producer.api.body import read_order
from producer.api.documents import SeenJob
from producer.api.idempotency import LEASE_S, StoredAnswer, attempting
from producer.api.openapi import BODY, CALLED, answers, problems_of
from producer.api.routes.parameters import AFTER, JobId, Wait, json_answer
from producer.api.services import Parts, Services
from producer.api.submit import enqueue, preferred_wait, retry_after_s
from producer.contract import JobStatus

router = APIRouter(tags=["jobs"])

SUBMIT_PROBLEMS = (
    *CALLED,
    "invalid-seed",
    "invalid-setting",
    "body-too-large",
    "share-full",
    "queue-full",
    "queue-unknown",
)

OwnId = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}),
    Path(description="An id of your own.", examples=["my-job"]),
]
Prefer = Annotated[
    list[str] | None,
    WithJsonSchema({"type": "string", "examples": ["wait=30"]}),
    Header(description="`wait=n`: answer when the job has ended, at most n (60) seconds later."),
]
IdempotencyKey = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": "^[!-~]{1,255}$"}),
    Header(description="Sent again with the same key and body, the first answer is given again."),
]

AfterResults = Annotated[
    str | None, WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,6}\.[0-9]{1,4}$"}), Query(description=AFTER)
]
AfterJobs = Annotated[
    str | None, WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,15}:.{1,200}$"}), Query(description=AFTER)
]


@router.post(
    "/v1/jobs",
    operation_id="submitJob",
    summary="Submit seeds as a new job",
    status_code=202,
    response_class=Response,
    openapi_extra=BODY,
    responses={
        **answers(200, schemas.Job, "It ended within the time of `Prefer: wait`.", "Location", "Preference-Applied"),
        **answers(202, schemas.Job, "It is enqueued.", "Location", "Retry-After", "Idempotency-Replayed"),
        **problems_of(*SUBMIT_PROBLEMS, "key-reused", "key-in-progress"),
    },
)
async def submit_job(
    request: Request, caller: Submit, parts: Parts, prefer: Prefer = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Enqueue one seed, several, or a range. Follow the job at the address in `Location`."""
    order = await read_order(request, parts.settings.api_max_body_bytes)
    wait_s = preferred_wait(prefer)
    fingerprint = hashlib.sha256(f"POST /v1/jobs {order.fingerprint}".encode()).hexdigest()
    lease_s = LEASE_S + (wait_s or 0)
    async with attempting(parts.connection, caller.tenant, idempotency_key, fingerprint, lease_s=lease_s) as attempt:
        request.state.job_id = attempt.job_id
        if attempt.answer is None:
            await enqueue(parts, caller, order, attempt.job_id, request.headers)
            attempt.enqueued = True
            seen = await parts.jobs.wait(attempt.job_id, caller, wait_s or 0, request, needed=False)
            attempt.answer = _submitted(parts, seen, wait_s)
    replayed = {"Idempotency-Replayed": "true"} if attempt.replayed else {}
    body = parts.documents.renewed(attempt.answer.body) if attempt.replayed else attempt.answer.body
    return json_answer(body, attempt.answer.status, {**attempt.answer.headers, **replayed})


@router.put(
    "/v1/jobs/{job_id}",
    operation_id="putJob",
    summary="Submit seeds as a job with an id of your own",
    status_code=202,
    response_class=Response,
    openapi_extra=BODY,
    responses={
        **answers(200, schemas.Job, "It existed with these seeds, or ended in time.", "Location", "Preference-Applied"),
        **answers(202, schemas.Job, "It is enqueued.", "Location", "Retry-After"),
        **problems_of(*SUBMIT_PROBLEMS, "invalid-job-id", "job-conflict"),
    },
)
async def put_job(job_id: OwnId, request: Request, caller: Submit, parts: Parts, prefer: Prefer = None) -> Response:
    """Enqueue as above. Sent again, it makes no second job; an id with other seeds, or of another's job, is refused."""
    order = await read_order(request, parts.settings.api_max_body_bytes)
    wait_s = preferred_wait(prefer)
    made = await enqueue(parts, caller, order, job_id, request.headers)
    seen = await parts.jobs.wait(job_id, caller, wait_s or 0, request, needed=False)
    answer = _submitted(parts, seen, wait_s)
    return json_answer(answer.body, answer.status if made else 200, answer.headers)


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="getJob",
    summary="Look at a job, or wait for its end",
    response_class=Response,
    responses={
        **answers(200, schemas.Job, "The job.", "Retry-After"),
        **problems_of(*CALLED, "job-not-found"),
    },
)
async def get_job(job_id: JobId, request: Request, caller: Read, parts: Parts, wait: Wait = 0) -> Response:
    """Answer at once, or with `wait` when the job has ended or the time is over."""
    seen = await parts.jobs.wait(job_id, caller, wait, request) if wait else await parts.jobs.read(job_id, caller)
    return json_answer(parts.documents.job(seen, whole=True), headers=_come_again(seen))


@router.get(
    "/v1/jobs/{job_id}/results",
    operation_id="getResults",
    summary="Page through the results of a job",
    response_class=Response,
    responses={
        **answers(200, schemas.ResultPage, "Results in the order of the seeds."),
        **problems_of(*CALLED, "job-not-found", "invalid-setting", "results-lost"),
    },
)
async def get_results(
    job_id: JobId,
    caller: Read,
    parts: Parts,
    after: AfterResults = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most results on the page.")] = 100,
) -> Response:
    """Answer with those that there are by now: of a job that runs, pages have gaps where seeds have not ended."""
    seen = await parts.jobs.read(job_id, caller)
    page = await parts.jobs.results(seen.record, after, limit)
    data = await parts.documents.results(page.results)
    return json_answer({"data": data, "has_more": page.next is not None, "next": page.next})


@router.post(
    "/v1/jobs/{job_id}/cancel",
    operation_id="cancelJob",
    summary="Cancel a job",
    response_class=Response,
    responses={
        **answers(200, schemas.Job, "The job as it is now."),
        **problems_of(*CALLED, "job-not-found"),
    },
)
async def cancel_job(job_id: JobId, caller: Submit, parts: Parts) -> Response:
    """Cancel it unless it has ended; what a worker is at is let go of within a second."""
    await parts.jobs.read(job_id, caller)
    await parts.connection.run(records.cancel_job(job_id))
    return json_answer(parts.documents.job(await parts.jobs.read(job_id, caller), whole=True))


@router.get(
    "/v1/jobs",
    operation_id="listJobs",
    summary="Page through your jobs",
    response_class=Response,
    responses={
        **answers(200, schemas.JobPage, "Jobs, newest first."),
        **problems_of(*CALLED, "invalid-setting"),
    },
)
async def list_jobs(
    caller: Read,
    parts: Parts,
    status: Annotated[JobStatus | None, Query(description="Only those of a status.")] = None,
    after: AfterJobs = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most jobs on the page.")] = 100,
) -> Response:
    """Answer with jobs, newest first; of a `status`, a page may have fewer than `limit` although there are more."""
    found, following = await parts.jobs.page(caller, status, after, limit)
    data = [parts.documents.job(seen) for seen in found]
    return json_answer({"data": data, "has_more": following is not None, "next": following})


def _submitted(parts: Services, seen: SeenJob, wait_s: int | None) -> StoredAnswer:
    """Return the answer to a submit, when it was waited for its end."""
    document = parts.documents.job(seen, whole=True)
    ended = seen.record.status.is_terminal
    applied = {"Preference-Applied": f"wait={wait_s}"} if wait_s is not None else {}
    headers = {"Location": document["urls"]["self"], **applied, **_come_again(seen)}
    return StoredAnswer(200 if ended and wait_s is not None else 202, headers, document)


def _come_again(seen: SeenJob) -> Mapping[str, str]:
    return {} if seen.record.status.is_terminal else {"Retry-After": str(retry_after_s(seen))}
