"""What /openapi.json says beyond what FastAPI reads off the routes: problems, bodies that are read by hand, headers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from producer.api.schemas import JobRequest, Problem
from producer.problems import KINDS, MEDIA_TYPE, PROTOCOL

Responses = dict[int | str, dict[str, Any]]

RETRY_AFTER = {"description": "Seconds after which to come again.", "schema": {"type": "integer", "minimum": 0}}
REQUEST_ID = {"description": "Id of the request in the log.", "schema": {"type": "string"}}
LOCATION = {"description": "Address of the job.", "schema": {"type": "string"}}

STATUS_OF = {name: status for name, (_, status, _) in KINDS.items()} | {
    name: status for name, (status, _) in PROTOCOL.items()
}
ALWAYS = ("invalid-request", "misdirected", "internal-error")
CALLED = (*ALWAYS, "unauthorized", "forbidden", "rate-limited", "queue-unreachable", "queue-refused")
"""Problems of every route that needs a key and Redis."""

EXAMPLES = {
    "one": {"summary": "One seed", "value": {"seed": 7}},
    "range": {"summary": "A range, when there is time", "value": {"range": "0..999", "priority": "bulk"}},
    "several": {
        "summary": "Several seeds, with data of your own",
        "value": {"seeds": [7, 8, 9], "metadata": {"album": "x"}},
    },
}
"""Bodies that can be sent as they stand; /docs offers the first."""

BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobRequest"}, "examples": EXAMPLES}},
    }
}
"""For routes that read a body with producer/api/body.py."""


def problems_of(*names: str) -> Responses:
    """Return the ``responses`` of a route that answers with these problems."""
    found: Responses = {}
    for status in sorted({STATUS_OF[name] for name in names}):
        of_status = [name for name in names if STATUS_OF[name] == status]
        headers = {"X-Request-ID": REQUEST_ID}
        if status in (429, 503):
            headers["Retry-After"] = RETRY_AFTER
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        found[status] = {"description": ", ".join(of_status), "content": content, "headers": headers}
    return found


def answers(status: int, model: type[BaseModel] | None, description: str, *headers: str) -> Responses:
    """Return the ``responses`` of a route that answers with this status, a model, and these headers."""
    known = {"Retry-After": RETRY_AFTER, "Location": LOCATION, "X-Request-ID": REQUEST_ID}
    told = {name: known.get(name, {"schema": {"type": "string"}}) for name in (*headers, "X-Request-ID")}
    found: dict[str, Any] = {"description": description, "headers": told}
    return {status: {**found, "model": model} if model else found}


def install(app: FastAPI, tags: Iterable[tuple[str, str]], *, requires_key: bool) -> None:
    """Let ``app`` describe itself with what is added here."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=[{"name": name, "description": text} for name, text in tags],
                servers=app.servers or None,
            )
            for model in (JobRequest, Problem):
                schema["components"]["schemas"][model.__name__] = model.model_json_schema()
            if not requires_key:
                _let_in_without_key(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's own way to change the schema


def _let_in_without_key(schema: dict[str, Any]) -> None:
    for path in schema["paths"].values():
        for operation in path.values():
            if "security" in operation:
                operation["security"].append({})
