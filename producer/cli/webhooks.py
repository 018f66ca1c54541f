"""``seedmill webhooks``: look at webhooks that were given up, send them again, forget them; tell a tenant's secret."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

import producer.cli.render as render
from producer.api.webhooks import secrets, store
from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.store import DeadWebhook
from producer.cli.dead import check_ids
from producer.cli.options import All, AsJson, RedisUrl
from producer.errors import DeadLetterNotFound, ReplayRefused
from producer.redis_backend import RedisBackend

app = typer.Typer(help="Webhooks: what was given up, and what receivers verify with.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of webhooks that were given up.")]


def _open(redis_url: str | None) -> closing[RedisBackend]:
    return closing(RedisBackend(WebhookSettings.load(redis_url=redis_url)))


def _replay(redis: RedisBackend, letter_id: str) -> DeadWebhook:
    """Make a webhook due again."""
    letter = store.only(store.parse_dead(redis.run(store.list_dead(1, letter_id))), letter_id)
    store.check_replay(letter, redis.run(store.replay_dead(letter)))
    return letter


@app.command()
def dead(
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 100,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
) -> None:
    """List webhooks that were given up, newest first; in a pipe as tab-separated id, time, job, URL, error."""
    with _open(redis_url) as redis:
        letters = store.parse_dead(redis.run(store.list_dead(limit)))
    if as_json:
        render.print_json([letter.to_dict() for letter in letters])
        return
    out = render.console()
    if out.is_terminal and not letters:
        out.print("no webhooks were given up")
    for letter in letters:
        if not out.is_terminal:
            render.print_fields(letter.id, letter.at, letter.job_id, letter.url, letter.last_error)
            continue
        tries = render.count(letter.attempts, "attempt")
        head = f"{letter.id} {letter.at} {letter.event} of job {letter.job_id}, {tries}"
        out.print(render.one_line(head), markup=False)
        out.print(f"  {render.one_line(letter.url)}: {render.one_line(letter.last_error)}", markup=False)


@app.command()
def replay(ids: Ids = None, everything: All = False, as_json: AsJson = False, redis_url: RedisUrl = None) -> None:
    """Make webhooks due again that were given up; a running seedmill serve sends them."""
    check_ids(ids, "webhooks", everything=everything)
    replayed: list[str] = []
    refused: list[str] = []
    with _open(redis_url) as redis:
        for letter_id in ids or [letter.id for letter in store.parse_dead(redis.run(store.list_dead(store.MAX_DEAD)))]:
            try:
                replayed.append(_replay(redis, letter_id).id)
            except (DeadLetterNotFound, ReplayRefused) as error:
                if not everything:
                    raise
                refused.append(str(error))
    if as_json:
        render.print_json({"replayed": replayed, "refused": refused})
        return
    for reason in refused:
        render.console(stderr=True).print(reason, markup=False)
    render.console().print(f"{render.count(len(replayed), 'webhook')} due again", markup=False)


@app.command()
def purge(ids: Ids = None, everything: All = False, as_json: AsJson = False, redis_url: RedisUrl = None) -> None:
    """Forget webhooks that were given up."""
    check_ids(ids, "webhooks", everything=everything)
    with _open(redis_url) as redis:
        gone = int(redis.run(store.purge_dead(ids or ())))
    if as_json:
        render.print_json({"purged": gone})
    else:
        render.console().print(f"{render.count(gone, 'webhook')} forgotten", markup=False)


@app.command()
def secret(
    tenant: Annotated[str, typer.Option("--tenant", help="Whose; left out, that of jobs without a tenant.")] = "",
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
) -> None:
    """Tell the secrets that receivers verify with, one a line; any of them will do, the first one lasts."""
    settings = WebhookSettings.load(redis_url=redis_url)
    with closing(RedisBackend(settings)) as redis:
        masters = secrets.set_masters(settings) or secrets.kept_masters(redis.run(secrets.keep_master()))
    found = secrets.tenant_secrets(masters, tenant)
    if as_json:
        render.print_json({"tenant": tenant, "secrets": found})
    else:
        print("\n".join(found))
