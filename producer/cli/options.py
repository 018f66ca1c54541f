"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.client import Client

RedisUrl = Annotated[
    str | None, typer.Option("--redis-url", help="Redis or Valkey; default: SEEDMILL_REDIS_URL.", show_default=False)
]
ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The HTTP API, instead of Redis; default: SEEDMILL_API_URL, key: SEEDMILL_API_KEY.",
        show_default=False,
    ),
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most; without it, for ever.")
]
Urls = Annotated[
    bool, typer.Option("--urls", help="Add a presigned URL of each picture; without --url this needs boto3.")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


def open_client(redis_url: str | None, api_url: str | None) -> Client:
    """Return a client of what the options name, or else the environment."""
    return Client(redis_url, url=api_url)
