"""Problems of requests: raised anywhere below a route, and what each error of the framework's is to a caller.

What a problem is, and which exception of ours is which, stands in producer/problems.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from producer import problems
from producer.api.answers import problem_response
from producer.errors import QueueRefused, QueueUnreachable, SeedmillError
from producer.problems import Problem
from producer.seeds import SHOWN_CHARACTERS, shorten

log = structlog.get_logger(__name__)

BY_STATUS = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}


class ProblemError(Exception):
    """A problem of :data:`producer.problems.PROTOCOL`, on its way to the caller."""

    def __init__(self, name: str, detail: str, *, retry_after_s: int | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.problem = problems.protocol(name, detail, retry_after_s=retry_after_s, **members)


def answer(problem: Problem, request: Request, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that carries a problem, with the id under which the log knows the request."""
    return problem_response(problem, getattr(request.state, "request_id", None), headers)


def internal_error(request: Request) -> Response:
    """Return the answer to a request that failed for no fault of the caller's; it says nothing of what is inside."""
    return answer(problems.protocol("internal-error", "the server failed; its log has the request_id"), request)


def install(app: FastAPI) -> None:
    """Let every error leave ``app`` as a problem."""
    app.add_exception_handler(ProblemError, _of_problem)
    app.add_exception_handler(SeedmillError, _of_error)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)


async def _of_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101  # it is registered for these alone
    return answer(error.problem, request)


async def _of_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SeedmillError)  # noqa: S101
    problem = problems.of_error(error)
    if isinstance(error, QueueUnreachable | QueueRefused):
        log.warning("the queue could not be asked", action="queue_away", error=str(error))
        problem = replace(
            problem, detail=f"{problem.title.lower()} at present: try again soon"
        )  # where it is, few know
    return answer(problem, request)


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return answer(problems.protocol("invalid-request", explain(error.errors())), request)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    name = BY_STATUS.get(error.status_code, "invalid-request" if error.status_code < 500 else "internal-error")
    details = {
        "not-found": f"there is nothing at {request.url.path!r}: /docs lists what there is",
        "method-not-allowed": f"{request.method} is not possible at {request.url.path!r}",
    }
    headers = {"Allow": allowed} if (allowed := _allowed(request)) and error.status_code == 405 else error.headers
    return answer(problems.protocol(name, details.get(name, str(error.detail))), request, headers)


def _allowed(request: Request) -> str:
    """Return all methods that the path takes: the framework knows those of one route alone."""
    route = request.scope.get("route")
    told = request.app.openapi()["paths"].get(getattr(route, "path", ""), ())
    return ", ".join(sorted({*map(str.upper, told), *getattr(route, "methods", ())})) if told else ""


def explain(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return what pydantic found wrong, each member with its value, in one line."""
    return "; ".join(_explain(error) for error in errors[:5])


def _explain(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part)[:SHOWN_CHARACTERS] for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["type"] == "dict_type":
        return f"{place} is not an object"
    return f"{place}={shorten(error.get('input'))}: {message}"
