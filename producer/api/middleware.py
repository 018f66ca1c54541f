"""What surrounds every request: its id, its line in the log, its place in the metrics, and the last net for errors."""

from __future__ import annotations

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer.api.metrics import Metrics
from producer.api.problem import internal_error

log = structlog.get_logger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/assets/{name:path}"})
"""Routes that machines ask for all the time, or for many at once: their lines are for debugging."""


class Surroundings:
    """ASGI middleware; the outermost one of ours."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand over, and tell what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("a request failed", action="request_failed", path=scope["path"])
                if status:
                    raise  # the server then breaks the connection off, so that nobody takes this for the end
                await internal_error(Request(scope))(scope, receive, send_with_id)
            finally:
                self._tell(scope, status, time.monotonic() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")
        self._metrics.answered(route, scope["method"], status, seconds)
        job_id = scope["state"].get("job_id") or scope.get("path_params", {}).get("job_id")
        told = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 1)}
        if job_id:
            told["job_id"] = job_id
        if route in QUIET:
            log.debug("a request was answered", action="request", **told)
        else:
            log.info("a request was answered", action="request", **told)
