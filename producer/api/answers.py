"""What answers of different routes have in common: how every error looks on the wire, and what a caller has already."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from producer.problems import MEDIA_TYPE, Problem

RETRY_S = 2
"""When to come again where nobody knows better."""

CHALLENGE = 'Bearer realm="seedmill"'


def problem_response(
    problem: Problem, request_id: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer that tells of a problem, with the headers that belong to its status."""
    more = {"Cache-Control": "no-store", **(headers or {})}
    if problem.status in (429, 503):
        more["Retry-After"] = str(RETRY_S)
    if problem.retry_after_s is not None:
        more["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        more["WWW-Authenticate"] = CHALLENGE
    members = {} if request_id is None else {"request_id": request_id}
    text = json.dumps({**problem.to_dict(), **members})  # ASCII: no text of a caller's can fail to be encoded
    return Response(text, problem.status, more, MEDIA_TYPE)


def is_known(request: Request, etag: str) -> bool:
    """Whether the caller has what would be sent: one of the tags of ``If-None-Match`` is its own (RFC 9110, 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in ",".join(request.headers.getlist("if-none-match")).split(",")]
    return etag in tags or "*" in tags
