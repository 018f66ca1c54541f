"""How the command line shows jobs, results and the queue: tables for people, JSON for programs.

Results and JSON go to standard output, progress and remarks to standard error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from producer.client import Client, Job
from producer.contract import DEFAULT_QUEUE
from producer.dead import DeadLetter
from producer.errors import JobTimeout, SeedmillError
from producer.job import Counts, JobRecord
from producer.message import SeedResult
from producer.queue import QueueStatus

if TYPE_CHECKING:
    from producer.presign import Presigner

Sign: TypeAlias = Callable[[SeedResult], str | None]
"""What gives the URL under which anyone can open a picture for a while; ``None`` if there is no picture."""

SHOWN_ROWS = 20
"""Results shown on a terminal at the end of a wait; ``seedmill results`` shows all."""

START_A_WORKER = "python -m worker run, or docker compose up worker"

STYLES = {"succeeded": "green", "failed": "red", "canceled": "yellow", "expired": "yellow"}


def console(*, stderr: bool = False) -> Console:
    """Return a console for one of the two output streams; lines are never folded or cut."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def count(number: int, noun: str) -> str:
    """Return the number with its noun in the right form."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2))


def print_job(job: Job, *, stderr: bool = False) -> None:
    """Print a job in one line."""
    style = STYLES.get(job.status, "cyan")
    words = "; ".join(filter(None, (describe(job.counts), outlook(job.record))))
    console(stderr=stderr).print(f"job [bold]{escape(job.id)}[/] [{style}]{job.status}[/]: {words}")


def describe(counts: Counts) -> str:
    """Return the counts in words, leaving out states that nobody is in."""
    states = ("queued", "running", "succeeded", "failed", "canceled")
    parts = [f"{getattr(counts, state)} {state}" for state in states if getattr(counts, state)]
    return f"{', '.join(parts)} of {count(counts.total, 'seed')}"


def outlook(record: JobRecord) -> str:
    """Return in words what is before a job that waits, and how fast one goes that runs; "" if that cannot be told."""
    if record.queue_position is not None:
        return f"{record.queue_position} ahead in the queue" if record.queue_position else "next in the queue"
    if record.seeds_per_s is None:
        return ""
    speed = f"{record.seeds_per_s:.{1 if record.seeds_per_s >= 1 else 2}f} seeds/s"
    return speed if record.eta_s is None else f"{speed}, about {duration(record.eta_s)} left"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, length, limit in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 36)):
        if seconds < limit * length:
            return f"{max(1, round(seconds / length))} {unit}"
    return f"{round(seconds / 86400)} d"


def result_facts(result: SeedResult, sign: Sign | None) -> dict[str, Any]:
    """Return the result as JSON-ready values, with a URL of the picture if there is who signs one."""
    facts = result.to_dict()
    return {**facts, "image_url": sign(result)} if sign else facts


def signed_by(presigner: Presigner) -> Sign:
    """Return what signs the URLs here."""
    return lambda result: presigner.url(result.image_uri) if result.image_uri else None


def print_results(results: Iterable[SeedResult], *, limit: int | None = None, sign: Sign | None = None) -> None:
    """Print the results: a few lines per seed on a terminal, else one line of tab-separated values.

    These are seed, status, caption (or the reason of a failure), the picture's URI, and a URL of it if there is who
    signs one. ``limit`` is for terminals.
    """
    out = console()
    shown = None if not out.is_terminal else limit
    for result in islice(results, shown):
        addresses = [result.image_uri or "", *([sign(result) or ""] if sign else [])]
        if out.is_terminal:
            print_row(out, result, *addresses)
        else:
            print_fields(str(result.seed), str(result.status), summary(result), *addresses)


def print_row(out: Console, result: SeedResult, *addresses: str) -> None:
    """Print a seed with its caption, and below it where its picture is; or the reason of its failure."""
    style = STYLES[result.status]
    out.print(f"[{style}]{result.seed:<10}[/] {escape(summary(result))}")
    for address in filter(None, addresses):
        out.print(f"  [dim]{escape(address)}[/]")


def summary(result: SeedResult) -> str:
    """Return the caption, or the reason of a failure, in one line that cannot command a terminal."""
    return one_line(f"{result.error['type']}: {result.error['message']}" if result.error else result.caption or "")


def one_line(text: str) -> str:
    """Return ``text`` in one line, without characters that command a terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in " ".join(text.split())
    )


def print_fields(*fields: str) -> None:
    """Print one line of tab-separated values."""
    print("\t".join(one_line(field) for field in fields))


def print_dead(letters: Sequence[DeadLetter]) -> None:
    """Print dead letters: two lines each on a terminal, else one line of tab-separated values."""
    out = console()
    if out.is_terminal and not letters:
        out.print("no dead letters")
    for letter in letters:
        if not out.is_terminal:
            print_fields(letter.id, letter.at, letter.job_id or "", letter.reason)
            continue
        what = f"chunk {letter.chunk} of job {letter.job_id}" if letter.job_id else "a message that is no chunk"
        out.print(f"[bold]{escape(one_line(letter.id))}[/] {escape(letter.at)} {escape(one_line(what))}")
        out.print(f"  [red]{escape(one_line(letter.reason))}[/]")


def print_dead_letter(letter: DeadLetter) -> None:
    """Print everything about a dead letter."""
    print_dead([letter])
    out = console()
    if letter.attempts:
        out.print(f"  {count(letter.attempts, 'attempt')}, {count(len(letter.seeds), 'seed')} in the chunk")
    for failure in letter.failures:
        reason = one_line(f"{failure.get('type')}: {failure.get('message')}")
        out.print(f"  [red]{failure.get('seed'):<10}[/] {escape(reason)}")
    if letter.raw is not None:
        out.print(f"  {'message' if letter.whole else 'from the message'}: {escape(one_line(letter.raw))}")


def print_queue(status: QueueStatus) -> None:
    """Print the queue's depth and a row per worker."""
    waiting, workers = count(status.waiting, "message"), count(len(status.workers), "worker")
    jobs, dead = count(status.active_jobs, "job"), count(status.dead_letters, "dead letter")
    age = "" if status.oldest_job_s is None else f" (the oldest for {duration(status.oldest_job_s)})"
    out = console()
    out.print(f"{waiting} waiting ({status.interactive} interactive), {status.held} held by workers, {workers} seen")
    out.print(f"{jobs} not ended{age}, {dead}")
    if list(status.queues) != [DEFAULT_QUEUE]:
        for name, one in status.queues.items():
            served = f", model {one.model_id}" if one.model_id else ""
            left = f"{count(one.backlog, 'seed')} not ended, {count(one.workers, 'worker')}"
            out.print(f"  queue {name}: {count(one.waiting, 'message')} waiting, {one.held} held, {left}{served}")
    if not status.workers:
        out.print(f"  nothing is done until one is started: {START_A_WORKER}", markup=False)
    for worker in status.workers:
        place = (
            f"{worker['host']} process {worker.get('pid')}, " if "host" in worker else ""
        )  # not for everybody's eyes
        where = "" if worker.get("queue", DEFAULT_QUEUE) == DEFAULT_QUEUE else f", queue {worker['queue']}"
        out.print(f"  {place}{worker.get('device')}, model {worker.get('model_id')}{where}", markup=False)


def remark_on_workers(client: Client, job: Job) -> None:
    """Say on standard error if nobody is there who would go on with a job, unless that cannot be known."""
    if job.status.is_terminal:
        return
    with suppress(SeedmillError):
        if client.queue().workers_of(job.queue):
            return
        where = "" if job.queue == DEFAULT_QUEUE else f" in queue {job.queue}"
        how = START_A_WORKER if job.queue == DEFAULT_QUEUE else f"{START_A_WORKER}, with SEEDMILL_QUEUE={job.queue}"
        console(stderr=True).print(f"[yellow]no worker is seen{where}, so nothing is done: {how}[/]")


def progress_bar(label: str, total: int, *, guess: bool = True) -> tuple[Progress, Any]:
    """Return a live progress bar on standard error and its task; ``guess``: it shows how long it may take."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if guess else []),
        console=Console(stderr=True),
    )
    return bar, bar.add_task(label, total=total, note="")


def follow(job: Job, timeout: float | None) -> Job:
    """Show a progress bar until the job has ended; the job as it is when the time runs out raises JobTimeout."""
    bar, task = progress_bar("generating", job.counts.total, guess=False)
    with bar:
        try:
            for seen in job.watch(timeout):
                failed = f"[red]{seen.counts.failed} failed[/]" if seen.counts.failed else ""
                note = " ".join(filter(None, (failed, outlook(seen.record))))
                bar.update(task, completed=seen.counts.done, note=note)
        except JobTimeout:
            bar.update(task, note="[yellow]timed out[/]")
            raise
    return job
