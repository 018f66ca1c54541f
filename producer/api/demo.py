"""The Gradio demo as a part of the API, at ``/ui``: it asks this very process, as any other caller would."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from producer import demo
from producer.api.settings import ApiSettings

PATH = "/ui"


class Below:
    """ASGI middleware that gives the demo its paths as a browser has them: Gradio wants what a proxy took away.

    Args:
        base: the path that was taken away.
    """

    def __init__(self, app: ASGIApp, base: str) -> None:
        self._app = app
        self._base = base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand over."""
        if scope["type"] == "http" and scope["path"].startswith(f"{PATH}/"):
            scope["path"] = self._base + scope["path"]  # in place: others look there for the route that was found
            scope["root_path"] = self._base
        await self._app(scope, receive, send)


def mount(app: FastAPI, settings: ApiSettings) -> None:
    """Serve the demo below :data:`PATH` of an application."""

    @app.get(PATH, include_in_schema=False)
    async def start() -> RedirectResponse:
        return RedirectResponse(f"{PATH.strip('/')}/")  # relative, so that it holds below any path

    base = urlsplit(settings.base).path
    demo.mount(app, PATH, _own_url, asks_for_key=settings.requires_key, root_path=f"{base}{PATH}" if base else None)
    if base:
        app.add_middleware(Below, base=base)


def _own_url(request: Any) -> str:
    """Return where this process listens, as the server has it: what a visitor writes into ``Host`` does not count."""
    host, port = request.request.scope["server"]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
