"""``seedmill keys``: make, list and revoke the keys of the HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

import producer.cli.render as render
from producer.cli.options import AsJson, RedisUrl
from producer.keys import MAX_EXPIRES_DAYS, MAX_RATE, ApiKey, KeyStore, Scope, id_of, make_key

app = typer.Typer(help="API keys: who may use the HTTP API, and for what.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is for, so that you know it again.")]


@app.command()
def create(
    name: Name,
    scopes: Annotated[
        list[Scope] | None,
        typer.Option("--scope", help="What it lets its holder do; may be repeated. Default: submit and read."),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Who its jobs belong to; by default the key is a tenant of its own.")
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option("--rate", min=0, max=MAX_RATE, help="Requests a minute, 0 for no limit; default: the API's."),
    ] = None,
    share: Annotated[
        float | None, typer.Option("--share", help="Part of the queue that its tenant may fill, such as 0.25.")
    ] = None,
    expires_days: Annotated[
        int | None, typer.Option("--expires-days", min=1, max=MAX_EXPIRES_DAYS, help="Days that it is good for.")
    ] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
) -> None:
    """Make a key and print it, which is the only time that it can be read."""
    wanted = scopes or [Scope.SUBMIT, Scope.READ]
    text, key = make_key(name, scopes=wanted, tenant=tenant, rate=rate, share=share, expires_days=expires_days)
    with KeyStore(redis_url) as store:
        store.add(key)
    if as_json:
        render.print_json({"key": text, **key.to_dict()})
        return
    print(text)
    remark = (
        f"key {key.id} of tenant {key.tenant} may {_scopes(key)}; it is shown this once alone: keep it as a password"
    )
    render.console(stderr=True).print(remark, markup=False)


@app.command("list")
def list_(as_json: AsJson = False, redis_url: RedisUrl = None) -> None:
    """List keys, oldest first; in a pipe as tab-separated id, name, tenant, scopes, time of expiry."""
    with KeyStore(redis_url) as store:
        keys = store.all()
    render.print_json([key.to_dict() for key in keys]) if as_json else _print(keys)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id: what stands between sm_ and the next _.")],
    redis_url: RedisUrl = None,
) -> None:
    """Forget a key; APIs that run refuse it within five seconds."""
    key_id = id_of(key_id) or key_id  # rather than show a whole key in an error
    with KeyStore(redis_url) as store:
        store.revoke(key_id)
    render.console().print(f"key {key_id} is revoked", markup=False)


def _scopes(key: ApiKey) -> str:
    return ", ".join(key.to_dict()["scopes"])


def _print(keys: Sequence[ApiKey]) -> None:
    out = render.console()
    if out.is_terminal and not keys:
        out.print("no API keys: make one with seedmill keys create NAME", markup=False)
    for key in keys:
        if not out.is_terminal:
            render.print_fields(key.id, key.name, key.tenant, _scopes(key), key.expires_at or "")
            continue
        until = f", good until {key.expires_at}" if key.expires_at else ""
        out.print(f"[bold]{key.id}[/] {escape(render.one_line(key.name))}")
        out.print(f"  {_scopes(key)} of tenant {key.tenant}, made {key.created_at}{until}", markup=False)
