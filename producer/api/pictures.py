"""What is published, as the API pages through it: newest first or by seed, with words looked for in the captions.

Admins see all pictures, others those that their tenant's jobs asked for. How they are answered is in
producer/api/documents.py.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from producer.api.connection import Connection
from producer.api.jobs import Viewer
from producer.api.workers import Remembered
from producer.contract import GALLERY_KEY
from producer.gallery import (
    Order,
    Page,
    PublishedPicture,
    gallery_key,
    list_pictures,
    name_pictures,
    parse_page,
    parse_pictures,
    read_pictures,
    seed_cursor,
    seed_place,
    split_name,
)

SCAN_PAGE = 1_000
"""Pictures that are read from Redis in one go, at most."""
SCAN_PICTURES = 10_000
"""Pictures that are looked at for one page, before what was found is answered."""
SEARCHES = 2
"""Pages that captions are looked through for at once, by a process: each costs Redis and the process some 50 ms."""
MAX_SORTED = 50_000
"""Newest pictures of a gallery that are put into the order of the seeds."""
MAX_GALLERIES = 16
"""Galleries whose order is remembered for a moment, so that paging through them is cheap."""

Names = Sequence[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pictures, in which order: those of a model, and those whose caption has all of these words in any case."""

    order: Order = Order.NEWEST
    words: tuple[str, ...] = ()
    model_id: str | None = None

    @classmethod
    def read(cls, order: Order, query: str | None, model_id: str | None) -> Wanted:
        """Return what was asked for by the text of a query."""
        return cls(order, tuple((query or "").casefold().split()), model_id)

    @property
    def all(self) -> bool:
        """Whether every picture is wanted."""
        return not self.words and self.model_id is None

    def has(self, picture: PublishedPicture) -> bool:
        """Whether this one is."""
        if self.model_id not in (None, picture.model_id):
            return False
        caption = picture.caption.casefold() if self.words else ""
        return all(word in caption for word in self.words)


class Pictures:
    """Reads galleries."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._searches = asyncio.Semaphore(SEARCHES)
        self._sorted: OrderedDict[str, Remembered[Names]] = OrderedDict()

    async def page(self, caller: Viewer, wanted: Wanted, after: str | None, limit: int) -> Page:
        """Return pictures that the caller may see, and where to go on.

        There may be fewer than ``limit`` although more follow, where not all are wanted.

        Raises:
            SettingsError: ``after`` is none of a page in this order.
        """
        if wanted.all:
            return await self._page(caller, wanted, after, limit)
        async with self._searches:
            return await self._page(caller, wanted, after, limit)

    async def _page(self, caller: Viewer, wanted: Wanted, after: str | None, limit: int) -> Page:
        key = gallery_key(None if caller.is_admin else caller.tenant)
        read = self._newest if wanted.order is Order.NEWEST else self._by_seed
        found: list[PublishedPicture] = []
        looked, count = 0, limit if wanted.all else SCAN_PAGE
        while True:
            page = await read(key, after, count)
            for place, picture in enumerate(page.pictures, 1):
                if wanted.has(picture):
                    found.append(picture)
                if len(found) == limit:
                    is_last = place == len(page.pictures)
                    return Page(found, page.next if is_last else picture.cursor(wanted.order), page.total)
            looked, count, after = looked + count, SCAN_PAGE, page.next
            if after is None or looked >= SCAN_PICTURES:
                return Page(found, after, page.total)

    async def fact(self, model_id: str, seed: int) -> tuple[datetime, dict[str, float]] | None:
        """Return when a picture was published and how long its stages took; ``None`` if the gallery has it not."""
        answer = await self._connection.run(read_pictures(GALLERY_KEY, [(seed, model_id)]))
        found, _ = parse_pictures(answer)
        return (found[0].published_at, found[0].timings) if found else None

    async def _newest(self, key: str, after: str | None, count: int) -> Page:
        return parse_page(await self._connection.run(list_pictures(key, after, count)))

    async def _by_seed(self, key: str, after: str | None, count: int) -> Page:
        last = None if after is None else seed_cursor(after)
        names = await self._remembered(key).get()
        start = 0 if last is None else bisect_right(names, last)
        chosen = names[start : start + count]
        found, total = parse_pictures(await self._connection.run(read_pictures(key, chosen)))
        if start + count >= len(names):
            return Page(found, None, total)
        return Page(found, seed_place(*chosen[-1]), total)

    def _remembered(self, key: str) -> Remembered[Names]:
        if key not in self._sorted:
            self._sorted[key] = Remembered(lambda: self._sort(key))
        self._sorted.move_to_end(key)
        if len(self._sorted) > MAX_GALLERIES:
            self._sorted.popitem(last=False)
        return self._sorted[key]

    async def _sort(self, key: str) -> Names:
        names = await self._connection.run(name_pictures(key, MAX_SORTED))
        return await asyncio.to_thread(lambda: sorted(map(split_name, names)))
