"""``python -m worker local up``: the whole stack in the foreground, without Docker, until Ctrl-C."""

from __future__ import annotations

import shlex
import sysconfig
import time
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.markup import escape

from producer.client import Client
from producer.contract import DEFAULT_QUEUE
from worker.commands.demo import UNTRAINED, is_untrained, model_variables
from worker.errors import SetupError
from worker.files import write_atomically
from worker.local.process import Process, free_port
from worker.local.stack import Endpoints, Stack, ending_on_signals, running_stack
from worker.locations import beside
from worker.settings import WorkerSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

POLL_S = 1.0
WHAT_NOW = "so the rest is stopped too; what was accepted is kept, and the next start goes on with it"


@app.callback()
def root() -> None:
    """The whole stack here, without Docker: Valkey, an S3 server, a worker, and the HTTP API."""


@app.command()
def up(
    data: Annotated[Path, typer.Option(help="Folder for everything that the stack writes.")] = Path(".seedmill/up"),
    redis_port: Annotated[int, typer.Option(help="Port of Valkey; another is found if it is taken.")] = 6379,
    s3_port: Annotated[int, typer.Option(help="Port of the S3 server; another is found if it is taken.")] = 9000,
    api_port: Annotated[int, typer.Option(help="Port of the HTTP API; likewise.")] = 8000,
    metrics_port: Annotated[int, typer.Option(help="Port of the worker's metrics; likewise.")] = 9808,
) -> None:
    """Start the stack, print where everything is, and stop it on Ctrl-C."""
    model = model_variables(WorkerSettings.load())
    console = Console(highlight=False)
    try:
        with ending_on_signals(), running_stack(data) as stack:
            with console.status("starting"):
                stack.start_servers(redis_port=redis_port, s3_port=s3_port)
                port = free_port(metrics_port)
                worker = stack.start_worker({**model, "SEEDMILL_METRICS_PORT": str(port)}, wait=False)
                api_url = stack.start_api(port=api_port)  # while the worker loads its model
                stack.wait_for(worker)
            announce(stack, worker, api_url, port, console)
            remark(stack.endpoints, api_url, (redis_port, s3_port, api_port), console)
            watch(stack, worker)
    except KeyboardInterrupt:
        console.print("stopped")


def announce(stack: Stack, worker: Process, api_url: str, metrics_port: int, console: Console) -> None:
    """Write the variables of the stack to a file, and print what is where and what to try."""
    endpoints = stack.endpoints
    variables = stack.data / "env"
    settings = WorkerSettings.load()
    exported = {**endpoints.environment(), **model_environment(settings)}
    if settings.queue != DEFAULT_QUEUE:
        exported["SEEDMILL_QUEUE"] = settings.queue
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exported.items()]
    lines.append(f"# export SEEDMILL_API_URL={api_url}  # seedmill and Client() then ask the API instead of Redis")
    lines.append(f'export PATH={shlex.quote(sysconfig.get_path("scripts"))}:"$PATH"')
    write_atomically(variables, ("\n".join(lines) + "\n").encode())
    with Client(endpoints.redis_url) as client:
        models = sorted({seen["model_id"] for seen in client.queue().workers})
    console.print(
        f"[bold green]seedmill is up[/]  (worker process {worker.pid})\n\n"
        f"  open [bold]{api_url}[/]\n\n"
        f"  queue    {endpoints.redis_url}   no password\n"
        f"  S3       {endpoints.s3_url}   bucket {endpoints.bucket}\n"
        f"           access key {endpoints.access_key}   secret key {endpoints.secret_key}\n"
        f"  API      {api_url}   no key; what apps can do: {api_url}/docs\n"
        f"  metrics  http://127.0.0.1:{metrics_port}/metrics\n"
        f"  data     {escape(str(stack.data))}\n"
        f"  logs     {escape(str(stack.logs))}\n"
        f"  model    {', '.join(models)}\n\n"
        "[bold]try[/], in another terminal:\n\n"
        f"  . {escape(shlex.quote(str(variables)))}\n"
        "  seedmill submit 0..99 --wait\n"
        "  seedmill submit 7 --wait --urls\n"
        "  seedmill queue\n"
        f"  curl {api_url}/v1/jobs -H 'Prefer: wait=10' -H 'Content-Type: application/json' -d '{{\"seed\": 7}}'\n"
        f"  curl -L -o 7.png {api_url}/v1/images/7\n"
        "  python -m worker verify 42\n\n"
        "Ctrl-C stops it; the data stays.",
        soft_wrap=True,
    )


def model_environment(settings: WorkerSettings) -> dict[str, str]:
    """Return the variables that name the worker's model, for commands that run elsewhere.

    A tokenizer that is found beside the checkpoint is not named, so that another checkpoint is given its own.
    """
    files = model_variables(settings)
    if files["SEEDMILL_TOKENIZER"] == beside(files["SEEDMILL_CHECKPOINT"], "tokenizer.json"):
        del files["SEEDMILL_TOKENIZER"]
    return {
        **files,
        "SEEDMILL_ARCHITECTURE": settings.architecture,
        "SEEDMILL_PRECISION": settings.precision,
    }


def remark(endpoints: Endpoints, api_url: str, ports: tuple[int, int, int], console: Console) -> None:
    """Say what is otherwise than one would expect; ``ports`` are those that were wanted."""
    urls = (endpoints.redis_url, endpoints.s3_url, api_url)
    for name, url, port in zip(("Valkey", "S3", "the API"), urls, ports, strict=True):
        if urlsplit(url).port != port:
            console.print(f"[yellow]port {port} is taken, so {name} is at {url}[/]")
    with Client(endpoints.redis_url) as client:
        if is_untrained(client):
            console.print(f"[yellow]{UNTRAINED}[/]")


def watch(stack: Stack, worker: Process) -> NoReturn:
    """Raise when a part of the stack ends by itself."""
    while True:
        for process in (*stack.servers.values(), worker):
            if process.exit_status is not None:
                raise SetupError(
                    f"{process.name} ended with status {process.exit_status}, {WHAT_NOW}: see {process.log}"
                )
        time.sleep(POLL_S)
