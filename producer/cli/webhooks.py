"""``seedmill webhooks``: look at webhooks that were given up, send them again, forget them; tell a tenant's secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

import producer.cli.render as render
from producer.api.webhooks import secrets, store
from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.store import DeadWebhook
from producer.cli.options import AsJson, RedisUrl
from producer.connection import connect, translated
from producer.errors import DeadLetterNotFound, ReplayRefused
from producer.lua import Call

app = typer.Typer(help="Webhooks: what was given up, and what receivers verify with.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of webhooks that were given up.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


class Desk:
    """Carries out calls on Redis."""

    def __init__(self, settings: WebhookSettings) -> None:
        self.settings = settings
        self._redis = connect(settings.redis_url)

    def run(self, call: Call) -> Any:
        """Run a script and return its answer."""
        with translated(self.settings.redis_url):
            return self._redis.register_script(call.script)(keys=call.keys, args=call.args)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def replay(self, letter_id: str) -> DeadWebhook:
        """Make a webhook due again."""
        letter = store.only(store.parse_dead(self.run(store.list_dead(1, letter_id))), letter_id)
        store.check_replay(letter, self.run(store.replay_dead(letter)))
        return letter


@contextmanager
def _desk(redis_url: str | None) -> Iterator[Desk]:
    desk = Desk(WebhookSettings.load(redis_url=redis_url))
    try:
        yield desk
    finally:
        desk.close()


@app.command()
def dead(
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 100,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
) -> None:
    """List webhooks that were given up, newest first; in a pipe as tab-separated id, time, job, URL, error."""
    with _desk(redis_url) as desk:
        letters = store.parse_dead(desk.run(store.list_dead(limit)))
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
    _check(ids, everything=everything)
    replayed: list[str] = []
    refused: list[str] = []
    with _desk(redis_url) as desk:
        for letter_id in ids or [letter.id for letter in store.parse_dead(desk.run(store.list_dead(store.MAX_DEAD)))]:
            try:
                replayed.append(desk.replay(letter_id).id)
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
    _check(ids, everything=everything)
    with _desk(redis_url) as desk:
        gone = int(desk.run(store.purge_dead(ids or ())))
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
    with _desk(redis_url) as desk:
        masters = secrets.set_masters(desk.settings) or secrets.kept_masters(desk.run(secrets.keep_master()))
    found = secrets.tenant_secrets(masters, tenant)
    if as_json:
        render.print_json({"tenant": tenant, "secrets": found})
    else:
        print("\n".join(found))


def _check(ids: list[str] | None, *, everything: bool) -> None:
    if bool(ids) == everything:
        raise typer.BadParameter("name webhooks by their ids, or say --all for all of them")
