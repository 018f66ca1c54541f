"""The ``seedmill`` command: enqueue seeds, follow jobs and look at the queue from a shell.

Exit status: 0 success, 1 the job did not succeed, 2 wrong usage, unknown job or no right to it, 3 the queue is
not reachable or full, 4 waiting timed out, 130 interrupted, 141 the reader of the output has gone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from producer import __version__
from producer.cli import dead, demo, gallery, keys, render, serve, webhooks
from producer.cli.options import ApiUrl, AsJson, JobId, RedisUrl, Timeout, Urls, open_client
from producer.cli.runner import EXIT_FAILED, EXIT_INTERRUPTED, run
from producer.cli.spans import sending_spans
from producer.client import Client, Job
from producer.contract import JobStatus, Priority
from producer.errors import AccessError, JobTimeout, QueueError
from producer.queue import check_forgotten, forget_queue
from producer.redis_backend import RedisBackend
from producer.seeds import parse_seeds
from producer.settings import MAX_URL_TTL_S, ProducerSettings

if TYPE_CHECKING:
    from producer.presign import Presigner

app = typer.Typer(
    name="seedmill",
    help="Turn integer seeds into pictures with captions: enqueue seeds, follow jobs, look at the queue.",
    epilog="Exit status: 0 success, 1 job failed, 2 usage, 3 not reachable or full, 4 timed out, 130 interrupted. "
    "--debug shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(dead.app, name="dead")
app.add_typer(gallery.app, name="gallery")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.command()(serve.serve)
app.command()(demo.demo)


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
    queue: Annotated[
        str | None, typer.Option("--queue", help="Queue, and so the model; default: SEEDMILL_QUEUE.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compute also what is published already.")] = False,
    urls: Urls = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    api_url: ApiUrl = None,
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
    with sending_spans(), open_client(redis_url, api_url) as client:
        sign = _signing(client) if urls else None  # before anything is enqueued
        job = client.submit(checked, job_id=job_id, priority=priority, queue=queue, force=force)
        if wait:
            _finish(client, job, timeout, as_json=as_json, sign=sign)
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
def status(job_id: JobId, as_json: AsJson = False, redis_url: RedisUrl = None, api_url: ApiUrl = None) -> None:
    """Show a job's status and counts."""
    with open_client(redis_url, api_url) as client:
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
    api_url: ApiUrl = None,
) -> None:
    """Wait for a job with a progress bar, then show its results."""
    with open_client(redis_url, api_url) as client:
        sign = _signing(client) if urls else None
        _finish(client, client.get(job_id), timeout, as_json=as_json, sign=sign)


@app.command()
def results(
    job_id: JobId, urls: Urls = False, as_json: AsJson = False, redis_url: RedisUrl = None, api_url: ApiUrl = None
) -> None:
    """Show the results that a job has so far, one row per seed."""
    with open_client(redis_url, api_url) as client:
        sign = _signing(client) if urls else None
        found = client.get(job_id).results()
        if as_json:
            render.print_json([render.result_facts(result, sign) for result in found])
        else:
            render.print_results(found, sign=sign)


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
def cancel(job_id: JobId, as_json: AsJson = False, redis_url: RedisUrl = None, api_url: ApiUrl = None) -> None:
    """Cancel a job unless it has ended; what a worker is at is let go of within a second."""
    with open_client(redis_url, api_url) as client:
        job = client.get(job_id)
        ended = job.status.is_terminal
        job.cancel()
    if ended and not as_json:
        render.console(stderr=True).print("it had ended already; nothing was canceled")
    render.print_json(job.to_dict()) if as_json else render.print_job(job)


@app.command()
def queue(
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="NAME", help="Let go of a queue without workers and jobs.")
    ] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    api_url: ApiUrl = None,
) -> None:
    """Show how much waits and which workers are seen."""
    if forget is not None:
        with closing(RedisBackend(ProducerSettings.load(redis_url=redis_url))) as redis:
            check_forgotten(forget, redis.run(forget_queue(forget)))
    with open_client(redis_url, api_url) as client:
        seen = client.queue()
    render.print_json(seen.to_dict()) if as_json else render.print_queue(seen)


@app.command()
def reconcile(as_json: AsJson = False, redis_url: RedisUrl = None, api_url: ApiUrl = None) -> None:
    """Enqueue again what is in no list although its job has not ended (messages deleted, or forgotten by Redis)."""
    with open_client(redis_url, api_url) as client:
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


def _signing(client: Client) -> render.Sign:
    """Return what gives the URL of a picture: over HTTP the API has signed it, otherwise it is done here."""
    if client.api:
        return lambda result: result.image_url
    return render.signed_by(_presigner())


def _finish(client: Client, job: Job, timeout: float | None, *, as_json: bool, sign: render.Sign | None) -> None:
    with _telling_how_to_go_on(job):
        render.remark_on_workers(client, job)
        render.follow(job, timeout)
        _show(job, as_json=as_json, sign=sign)
    if job.status is not JobStatus.SUCCEEDED:
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _telling_how_to_go_on(job: Job) -> Iterator[None]:
    """Say on standard error what to do where a wait ends before its job, of which nothing else may tell the id."""
    try:
        yield
    except (KeyboardInterrupt, JobTimeout, QueueError, AccessError) as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        if job.status.is_terminal:
            hint = f"the job has ended: seedmill results {job.id}"
        else:
            hint = f"the job goes on: seedmill wait {job.id}"
            hint += f", or seedmill cancel {job.id}" if interrupted else ""
        render.console(stderr=True).print(hint, markup=False)
        if interrupted:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        raise


def _show(job: Job, *, as_json: bool, sign: render.Sign | None) -> None:
    if as_json:
        facts = [render.result_facts(result, sign) for result in job.results()]
        render.print_json({**job.to_dict(), "results": facts})
        return
    on_terminal = render.console().is_terminal
    render.print_job(job, stderr=not on_terminal)  # in a pipe the results alone
    render.print_results(job.results(), limit=render.SHOWN_ROWS, sign=sign)
    if on_terminal and job.counts.total > render.SHOWN_ROWS:
        more = f"seedmill results {job.id}{' --urls' if sign else ''}"
        render.console(stderr=True).print(f"[dim]these are the first; all: {more}[/]")


def main() -> None:
    """Entry point of the console script."""
    run(app, "seedmill", sys.argv[1:])
