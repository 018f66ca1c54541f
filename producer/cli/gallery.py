"""``seedmill gallery``: make the index of what is published anew from the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

import producer.cli.render as render
from producer.cli.options import AsJson, RedisUrl
from producer.contract import DEFAULT_GALLERY_SIZE, GALLERY_KEY, picture_name
from producer.gallery import EPOCH, MICROSECOND, PublishedPicture, add_pictures, encode_facts, name_pictures
from producer.redis_backend import RedisBackend
from producer.settings import BucketSettings, ProducerSettings

if TYPE_CHECKING:
    from producer.bucket_listing import BucketListing, Listed

app = typer.Typer(help="The gallery: the index of what is published.", no_args_is_help=True)

THREADS = 16
ADDED_AT_ONCE = 500


@app.command()
def rebuild(
    model: Annotated[
        str | None, typer.Option("--model", help="Only pictures of the model of this id; default: of all.")
    ] = None,
    size: Annotated[
        int,
        typer.Option("--size", min=1, help="Most pictures in the gallery; workers have SEEDMILL_GALLERY_SIZE."),
    ] = DEFAULT_GALLERY_SIZE,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
) -> None:
    """Add to the gallery what the bucket has and it has not, the newest first, until it is full; nothing leaves it.

    For a bucket of an earlier release, or after Redis was emptied. Needs boto3, and keys that may list the bucket.
    Galleries of tenants get nothing: nobody knows any more who asked.
    """
    from producer.bucket_listing import BucketListing  # of an optional extra

    listing = BucketListing(BucketSettings.load(), connections=THREADS)
    with closing(RedisBackend(ProducerSettings.load(redis_url=redis_url))) as redis:
        listed = listing.newest(size, model)
        there = set(redis.run(name_pictures(GALLERY_KEY, size)))
        missing = [one for one in listed if picture_name(one.model_id, one.seed) not in there][: size - len(there)]
        added, unread = _add(redis, listing, missing)
    if as_json:
        render.print_json({"listed": len(listed), "added": added, "unreadable": unread})
        return
    render.console().print(f"{render.count(added, 'picture')} added of {len(listed)} in the bucket", markup=False)
    if unread:
        remark = f"{render.count(unread, 'metadata object')} left out: gone meanwhile, or not one of seedmill's"
        render.console(stderr=True).print(remark, markup=False)


def _add(redis: RedisBackend, listing: BucketListing, missing: Sequence[Listed]) -> tuple[int, int]:
    """Add pictures, newest first; returns how many were added, and how many metadata objects could not be read."""
    added = unread = 0
    with ThreadPoolExecutor(THREADS) as threads:
        for start in range(0, len(missing), ADDED_AT_ONCE):
            part = missing[start : start + ADDED_AT_ONCE]
            captions = list(threads.map(listing.caption, part))
            pictures = [
                PublishedPicture(one.model_id, one.seed, _at_us(one, len(missing) - place), encode_facts(caption, {}))
                for place, (one, caption) in enumerate(zip(part, captions, strict=True), start)
                if caption is not None
            ]
            unread += len(part) - len(pictures)
            added += int(redis.run(add_pictures(pictures)))
    return added, unread


def _at_us(listed: Listed, place: int) -> int:
    """Return when a picture was published, with its place added, since a bucket may tell whole seconds."""
    return (listed.modified - EPOCH) // MICROSECOND + place
