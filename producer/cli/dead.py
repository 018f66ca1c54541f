"""``seedmill dead``: look at dead letters, send them again, forget them."""

from __future__ import annotations

from typing import Annotated

import typer

import producer.cli.render as render
from producer.cli.options import All, ApiUrl, AsJson, RedisUrl, open_client
from producer.dead import DeadLetter
from producer.errors import DeadLetterNotFound, ReplayRefused

app = typer.Typer(help="Dead letters: what failed, and why.", no_args_is_help=True)

ALL = 1_000_000
Id = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of dead letters.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 100,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    api_url: ApiUrl = None,
) -> None:
    """List dead letters, newest first; in a pipe as tab-separated id, time, job, reason."""
    with open_client(redis_url, api_url) as client:
        letters = client.dead_letters(limit)
    if as_json:
        render.print_json([letter.to_dict() for letter in letters])
    else:
        render.print_dead(letters)


@app.command()
def show(letter_id: Id, as_json: AsJson = False, redis_url: RedisUrl = None, api_url: ApiUrl = None) -> None:
    """Show one dead letter with everything that is known of it."""
    with open_client(redis_url, api_url) as client:
        letter = client.dead_letter(letter_id)
    render.print_json(letter.to_dict()) if as_json else render.print_dead_letter(letter)


@app.command()
def replay(
    ids: Ids = None,
    everything: All = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    api_url: ApiUrl = None,
) -> None:
    """Send dead letters to the queue again; their jobs then run again until they have ended."""
    check_ids(ids, "dead letters", everything=everything)
    replayed: list[DeadLetter] = []
    refused: list[str] = []
    with open_client(redis_url, api_url) as client:
        for letter_id in ids or [letter.id for letter in client.dead_letters(ALL)]:
            try:
                replayed.append(client.replay(letter_id))
            except (DeadLetterNotFound, ReplayRefused) as error:
                if not everything:
                    raise
                refused.append(str(error))
    if as_json:
        render.print_json({"replayed": [letter.id for letter in replayed], "refused": refused})
        return
    for reason in refused:
        render.console(stderr=True).print(reason, markup=False)
    render.console().print(f"{render.count(len(replayed), 'dead letter')} sent again", markup=False)


@app.command()
def purge(
    ids: Ids = None,
    everything: All = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    api_url: ApiUrl = None,
) -> None:
    """Forget dead letters; their jobs stay as they are."""
    check_ids(ids, "dead letters", everything=everything)
    with open_client(redis_url, api_url) as client:
        gone = client.purge(ids or None)
    if as_json:
        render.print_json({"purged": gone})
    else:
        render.console().print(f"{render.count(gone, 'dead letter')} forgotten", markup=False)


def check_ids(ids: list[str] | None, what: str, *, everything: bool) -> None:
    """Refuse a command that names none of what it is for, or some as well as all."""
    if bool(ids) == everything:
        raise typer.BadParameter(f"name {what} by their ids, or say --all for all of them")
