"""The events of a job, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import WithJsonSchema

from producer.api.access import Caller, Read
from producer.api.documents import SeenJob
from producer.api.events import Place, Start
from producer.api.openapi import CALLED, Responses, problems_of
from producer.api.routes.parameters import JobId
from producer.api.services import Parts, Services

router = APIRouter(tags=["jobs"])

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["status", "result", "progress"]},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "A Job or a SeedResult."},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
EventId = WithJsonSchema({"type": "string", "pattern": r"^([1-9][0-9]{0,8}(\.[0-9]{1,4})?|end|)$", "examples": ["3.2"]})
STREAM: Responses = {
    200: {
        "description": "Events `status`, `result` and `progress`, until the job has ended.",
        "content": {MEDIA_TYPE: {"schema": EVENT}},
    },
    204: {"description": "The job has ended, and nothing follows the event that was seen last."},
}


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="streamEvents",
    summary="Stream what happens to a job",
    response_class=Response,
    responses={**STREAM, **problems_of(*CALLED, "job-not-found")},
)
async def stream_events(
    job_id: JobId,
    caller: Read,
    parts: Parts,
    results: Annotated[bool, Query(description="Whether to send an event for each seed.")] = True,
    last_event_id: Annotated[
        str | None, EventId, Header(description="The id of the last event that was seen; the stream goes on after it.")
    ] = None,
    last_event_id_: Annotated[
        str | None, EventId, Query(alias="last_event_id", description="The same, for those who cannot set a header.")
    ] = None,
) -> Response:
    """Stream events from the first on, or from the one after `Last-Event-ID`: none is lost and none sent twice."""
    Place.parse(last_event_id_ or "")
    seen = await parts.jobs.read(job_id, caller)
    start = await parts.events.begin(seen, last_event_id or last_event_id_ or "", results=results)
    if start is None:
        return Response(status_code=204, headers=HEADERS)
    parts.waiting.check_room(caller)
    stream = _counted(parts, caller, seen, start, results=results)
    return StreamingResponse(stream, headers=HEADERS, media_type=MEDIA_TYPE)


async def _counted(
    parts: Services, caller: Caller, seen: SeenJob, start: Start, *, results: bool
) -> AsyncIterator[bytes]:
    stays = partial(parts.waiting.may_stay, caller)
    with parts.metrics.streams.track_inprogress(), parts.waiting.place(caller):
        async for part in parts.events.stream(seen, start, stays, results=results):
            yield part
