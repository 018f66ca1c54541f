"""Parameters that several routes share, and the making of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import WithJsonSchema

from producer.api.problem import ProblemError
from producer.api.submit import MAX_WAIT_S
from producer.seeds import shorten

JobId = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200}),
    Path(description="The job's id.", examples=["my-job"]),
]
Wait = Annotated[int, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait at most for the end of the job.")]
AFTER = "The `next` of the page before; left out, the first page."


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an answer that nobody keeps."""
    return JSONResponse(content, status, {"Cache-Control": "no-store", **(headers or {})})


async def only_known_parameters(request: Request) -> None:
    """Refuse a query with parameters that the operation does not have: what is misspelt would be as if left out."""
    template = request.scope["route"].path
    if not request.query_params or not template.startswith("/v1/"):
        return
    operations = request.app.openapi()["paths"][template]
    operation = operations["get" if request.method == "HEAD" else request.method.lower()]
    known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            having = f"there are {', '.join(known)}" if known else "there are none here"
            raise ProblemError("invalid-request", f"the parameter {shorten(name)} of the query is not known: {having}")
