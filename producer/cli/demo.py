"""``seedmill demo``: a Gradio demo over the HTTP API, which is an optional extra and is loaded here alone."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.errors import SettingsError
from producer.settings import HttpSettings


def demo(
    url: Annotated[
        str | None,
        typer.Option("--url", help="The HTTP API; default: SEEDMILL_API_URL.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 7860,
) -> None:
    """Serve a Gradio demo of the HTTP API until Ctrl-C."""
    from producer.demo import launch

    api_url = HttpSettings.load(api_url=url).api_url
    if api_url is None:
        raise SettingsError("no HTTP API is named: give --url, or set SEEDMILL_API_URL")
    launch(api_url, host, port)
