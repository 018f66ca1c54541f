"""``seedmill serve``: the HTTP API, which is an optional extra and is loaded here alone."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.options import RedisUrl
from producer.cli.spans import sending_spans
from producer.errors import ExtraMissing

PACKAGES = (
    "boto3 fastapi fastapi-offline-docs hiredis httpcore2 httptools prometheus-client standardwebhooks structlog "
    "uvicorn uvloop"
)
"""What the extra ``api`` installs."""


def serve(
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address to listen on; default: SEEDMILL_API_HOST.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Port, 0 for a free one; default: SEEDMILL_API_PORT.", show_default=False
        ),
    ] = None,
    redis_url: RedisUrl = None,
) -> None:
    """Serve the HTTP API until Ctrl-C or SIGTERM."""
    try:
        from producer.api.server import serve as run
        from producer.api.settings import ApiSettings
    except ImportError as error:
        raise ExtraMissing(f"serving the API needs more than is installed ({error}): pip install {PACKAGES}") from error
    with sending_spans():
        run(ApiSettings.load(api_host=host, api_port=port, redis_url=redis_url))
