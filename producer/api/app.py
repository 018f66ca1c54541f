"""The application: routes, what surrounds them, and what runs beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import fastapi_offline_docs
from fastapi import Depends, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from producer import __version__
from producer.api import openapi, problem, site
from producer.api.host_check import HostCheck
from producer.api.middleware import Surroundings
from producer.api.routes import admin, events, gallery, images, jobs, operations, webhooks
from producer.api.routes.parameters import only_known_parameters
from producer.api.services import Services
from producer.api.settings import ApiSettings

TAGS = (
    ("jobs", "Submit seeds, follow what becomes of them, read results."),
    ("images", "What is published, and pictures by their seed."),
    ("webhooks", "What they are signed with, and those that could not be delivered."),
    ("operations", "Health, readiness, numbers, limits."),
    ("administration", "The queue and its dead letters."),
)
DESCRIPTION = """Submit seeds, follow the job, open the pictures.

Errors are problem details (RFC 9457) with a stable `type`; answers with status 429 or 503 say in `Retry-After` when to
come again. Every answer has an `X-Request-ID`, which the log has too; your own is kept."""

ASSETS = Path(fastapi_offline_docs.__file__).parent / "static"


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """Return the application; settings are by default those of the environment. Nothing is sent before it runs."""
    settings = settings or ApiSettings.load()
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with services.running():
            yield

    app = FastAPI(
        title="seedmill",
        summary="Turns integer seeds into pictures with captions.",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": settings.base}] if settings.base else None,
    )
    app.state.services = services
    app.state.access = services.access
    for routes in (jobs, events, gallery, images, webhooks, operations, admin):
        app.include_router(routes.router, dependencies=[Depends(only_known_parameters)])
    app.include_router(site.router)
    problem.install(app)
    openapi.install(app, TAGS, requires_key=settings.requires_key)
    _add_documentation(app, settings.api_root_path)
    if settings.api_demo:
        from producer.api import demo  # of an optional extra

        demo.mount(app, settings)
    app.add_middleware(HostCheck, settings=settings)
    app.add_middleware(Surroundings, metrics=services.metrics)
    return app


def _add_documentation(app: FastAPI, base: str) -> None:
    """Serve /docs with assets of our own, so that it works without another network; ``base`` is before paths."""
    app.mount("/docs/assets", StaticFiles(directory=ASSETS), name="assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=f"{base}/openapi.json",
            title="seedmill",
            swagger_js_url=f"{base}/docs/assets/swagger-ui-bundle.js",
            swagger_css_url=f"{base}/docs/assets/swagger-ui.css",
            swagger_favicon_url="data:,",
        )
