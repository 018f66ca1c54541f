"""The ``seedmill`` command: enqueue seeds, follow jobs and look at the queue from a shell.

Exit status: 0 success, 1 the job did not succeed, 2 wrong usage or unknown job, 3 Redis not reachable,
4 waiting timed out, 130 interrupted, 141 the reader of the output has gone.
"""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from producer import __version__
from producer.cli import dead, render
from producer.cli.options import AsJson, JobId, RedisUrl, Timeout, Urls
from producer.cli.runner import EXIT_FAILED, EXIT_INTERRUPTED, run
from producer.cli.spans import sending_spans
from producer.client import Client, Job
from producer.contract import JobStatus, Priority
from producer.seeds import parse_seeds
from producer.settings import MAX_URL_TTL_S

if TYPE_CHECKING:
    from producer.presign import Presigner

app = typer.Typer(
    name="seedmill",
    help="Turn integer seeds into pictures with captions: enqueue seeds, follow jobs, look at the queue.",
    epilog="Exit status: 0 success, 1 job failed, 2 usage, 3 not reachable, 4 timed out, 130 interrupted. "
    "--debug shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(dead.app, name="dead")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"seedmill {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options of the command itself."""


@app.command(context_settings={"ignore_unknown_options": True})  # so that -5 is refused as a seed
def submit(
    seeds: Annotated[list[str], typer.Argument(metavar="SEED...", help="Seeds and ranges: 7 8 0..99")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and show the results.")] = False,
    timeout: Timeout = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Your own job id; an existing one is not redone.")] = None,
    priority: Annotated[
        Priority | None,
        typer.Option(
            "--priority", help="How urgent it is; a job of one message is interactive by default, others bulk."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compute also what is published already.")] = False,
    urls: Urls = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
) -> None:
    """Enqueue seeds as one job and print it; in a pipe, its id alone."""
    for word in seeds:
        if re.match("--?[A-Za-z]", word):
            raise typer.BadParameter(f"no such option: {word}")
    checked = parse_seeds(seeds)
    if timeout is not None and not wait:
        raise typer.BadParameter("it says how long to wait: add --wait", param_hint="--timeout")
    if urls and not wait:
        raise typer.BadParameter("it adds URLs to the results: add --wait", param_hint="--urls")
    presigner = _presigner() if urls else None  # before anything is enqueued
    with sending_spans(), Client(redis_url) as client:
        job = client.submit(checked, job_id=job_id, priority=priority, force=force)
        if wait:
            render.remark_on_workers(client, job)
            _finish(job, timeout, as_json=as_json, presigner=presigner)
        elif as_json:
            render.print_json(job.to_dict())
        elif not render.console().is_terminal:
            print(job.id)
        else:
            render.print_job(job)
            render.remark_on_workers(client, job)
            if not job.status.is_terminal:
                render.console(stderr=True).print(f"[dim]follow it with: seedmill wait {job.id}[/]")


@app.command()
def status(job_id: JobId, as_json: AsJson = False, redis_url: RedisUrl = None) -> None:
    """Show a job's status and counts."""
    with Client(redis_url) as client:
        job = client.get(job_id)
        if as_json:
            render.print_json(job.to_dict())
        else:
            render.print_job(job)
            render.remark_on_workers(client, job)


@app.command()
def wait(
    job_id: JobId,
    timeout: Timeout = None,
    urls: Urls = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
) -> None:
    """Wait for a job with a progress bar, then show its results."""
    presigner = _presigner() if urls else None
    with Client(redis_url) as client:
        job = client.get(job_id)
        render.remark_on_workers(client, job)
        _finish(job, timeout, as_json=as_json, presigner=presigner)


@app.command()
def results(job_id: JobId, urls: Urls = False, as_json: AsJson = False, redis_url: RedisUrl = None) -> None:
    """Show the results that a job has so far, one row per seed."""
    presigner = _presigner() if urls else None
    with Client(redis_url) as client:
        found = client.get(job_id).results()
        if as_json:
            render.print_json([render.result_facts(result, presigner) for result in found])
        else:
            render.print_results(found, presigner=presigner)


@app.command()
def url(
    uris: Annotated[list[str], typer.Argument(metavar="URI...", help="Objects, as results name them: s3://bucket/key")],
    expires_s: Annotated[
        int | None,
        typer.Option("--expires", min=1, max=MAX_URL_TTL_S, help="Seconds; default: SEEDMILL_S3_URL_TTL_S."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a URL for each object, under which anyone can read it for a while; nothing is sent."""
    presigner = _presigner()
    signed = [{"uri": uri, "url": presigner.url(uri, expires_s)} for uri in uris]
    if as_json:
        render.print_json(signed)
    else:
        print("\n".join(entry["url"] for entry in signed))


@app.command()
def cancel(job_id: JobId, as_json: AsJson = False, redis_url: RedisUrl = None) -> None:
    """Cancel a job unless it has ended; what a worker is at is let go of within a second."""
    with Client(redis_url) as client:
        job = client.get(job_id)
        ended = job.status.is_terminal
        job.cancel()
    if ended and not as_json:
        render.console(stderr=True).print("it had ended already; nothing was canceled")
    render.print_json(job.to_dict()) if as_json else render.print_job(job)


@app.command()
def queue(as_json: AsJson = False, redis_url: RedisUrl = None) -> None:
    """Show how much waits and which workers are seen."""
    with Client(redis_url) as client:
        seen = client.queue()
    render.print_json(seen.to_dict()) if as_json else render.print_queue(seen)


@app.command()
def reconcile(as_json: AsJson = False, redis_url: RedisUrl = None) -> None:
    """Enqueue again what is in no list although its job has not ended (messages deleted, or forgotten by Redis)."""
    with Client(redis_url) as client:
        done = client.reconcile()
    if as_json:
        render.print_json(asdict(done))
    else:
        jobs = render.count(done.active_jobs, "job")
        render.console().print(f"{jobs} not ended, {render.count(done.republished, 'lost chunk')} enqueued again")


def _presigner() -> Presigner:
    """Return what signs URLs: an optional extra, so that boto3 is loaded here alone."""
    from producer.presign import Presigner

    return Presigner()


def _finish(job: Job, timeout: float | None, *, as_json: bool, presigner: Presigner | None) -> None:
    try:
        render.follow(job, timeout)
    except KeyboardInterrupt:
        hint = f"the job goes on: seedmill wait {job.id}, or seedmill cancel {job.id}"
        render.console(stderr=True).print(hint)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        facts = [render.result_facts(result, presigner) for result in job.results()]
        render.print_json({**job.to_dict(), "results": facts})
    else:
        on_terminal = render.console().is_terminal
        render.print_job(job, stderr=not on_terminal)  # in a pipe the results alone
        render.print_results(job.results(), limit=render.SHOWN_ROWS, presigner=presigner)
        if on_terminal and job.counts.total > render.SHOWN_ROWS:
            more = f"seedmill results {job.id}{' --urls' if presigner else ''}"
            render.console(stderr=True).print(f"[dim]these are the first; all: {more}[/]")
    if job.status is not JobStatus.SUCCEEDED:
        raise typer.Exit(EXIT_FAILED)


def main() -> None:
    """Entry point of the console script."""
    run(app, "seedmill", sys.argv[1:])
