"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

RedisUrl = Annotated[
    str | None, typer.Option("--redis-url", help="Redis or Valkey; default: SEEDMILL_REDIS_URL.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most; without it, for ever.")
]
Urls = Annotated[bool, typer.Option("--urls", help="Add a presigned URL of each picture; needs boto3.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
