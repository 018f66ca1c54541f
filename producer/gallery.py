"""The gallery: what is published, newest first, of all and of each tenant; kept in Redis beside the pictures' captions.

Calls to make and the reading of their answers; it talks to nobody. Workers add to it in the step that ends a chunk
(producer/scripts/finish_chunk.lua). It is an index that may be lost: the bucket has the pictures.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from producer.contract import GALLERY_KEY, GALLERY_KEY_PREFIX, PICTURES_KEY, picture_name
from producer.errors import SettingsError
from producer.lua import SCRIPTS, Call
from producer.seeds import shorten

MODEL_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
NEWEST_PATTERN = "[0-9]{1,16}"
SEED_PATTERN = f"[0-9]{{1,10}}:{MODEL_PATTERN}"
MAX_CAPTION_CHARACTERS = 2_000
"""What is kept of a caption, to be shown and looked for; all of it is in the metadata."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Order(StrEnum):
    """How the pictures of a gallery are sorted."""

    NEWEST = "newest"
    """Those that were published last come first."""
    SEED = "seed"
    """By seed, and by the model's id where several models have made one."""


@dataclass(frozen=True, slots=True)
class PublishedPicture:
    """A picture of a gallery.

    ``at_us`` is when it came there, in microseconds by the clock of the Redis server, which no other of that gallery
    has. ``facts`` are the caption and the timings as they are stored.
    """

    model_id: str
    seed: int
    at_us: int
    facts: str

    @property
    def caption(self) -> str:
        """What the model says of it."""
        return self.facts.rpartition("\n")[0]

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds by stage; none of a picture that was found in the bucket."""
        try:
            found = json.loads(self.facts.rpartition("\n")[2])
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def published_at(self) -> datetime:
        """When it came there, in UTC."""
        return EPOCH + self.at_us * MICROSECOND

    def cursor(self, order: Order) -> str:
        """Return the ``after`` of what follows it."""
        return str(self.at_us) if order is Order.NEWEST else seed_place(self.seed, self.model_id)

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of it as JSON-ready values."""
        return {
            "seed": self.seed,
            "model_id": self.model_id,
            "caption": self.caption,
            "published_at": self.published_at.isoformat(timespec="milliseconds"),
            "timings": self.timings,
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Some pictures, where to go on, ``None`` at the end, and how many there are in this gallery."""

    pictures: list[PublishedPicture]
    next: str | None
    total: int


def encode_facts(caption: str, timings: Mapping[str, float]) -> str:
    """Return what is stored of a picture: the beginning of its caption, and its timings.

    What no UTF-8 can have in a caption becomes a question mark.
    """
    rounded = {stage: round(ms, 1) for stage, ms in timings.items() if math.isfinite(ms)}
    text = caption[:MAX_CAPTION_CHARACTERS].encode(errors="replace").decode()
    return f"{text}\n{json.dumps(rounded, separators=(',', ':'))}"


def gallery_key(tenant: str | None) -> str:
    """Redis sorted set of the pictures that a tenant's jobs asked for; with ``None`` of all."""
    return GALLERY_KEY if tenant is None else GALLERY_KEY_PREFIX + tenant


def split_name(name: str) -> tuple[int, str]:
    """Return seed and model of what stands in a gallery; sorted, these are in the order of the seeds."""
    model_id, _, seed = name.rpartition(":")
    return int(seed), model_id


def seed_place(seed: int, model_id: str) -> str:
    """Return the ``after`` of what follows a picture in the order of the seeds; :func:`seed_cursor` reads it."""
    return f"{seed}:{model_id}"


def seed_cursor(after: str) -> tuple[int, str]:
    """Return seed and model of the picture that a page in the order of the seeds goes on behind.

    Raises:
        SettingsError: it is no place in that order.
    """
    seed, _, model_id = _checked(after, SEED_PATTERN).partition(":")
    return int(seed), model_id


def list_pictures(key: str, after: str | None, limit: int) -> Call:
    """Read pictures, newest first; :func:`parse_page` reads the answer.

    Raises:
        SettingsError: ``after`` is none of a page in this order.
    """
    last = "" if after is None else _checked(after, NEWEST_PATTERN)
    return Call(SCRIPTS["list_pictures"], [key, PICTURES_KEY], [limit, last])


def parse_page(answer: Sequence[Any]) -> Page:
    """Read what :func:`list_pictures` answered."""
    total, following, *rest = answer
    return Page(_pictures(rest), following or None, total)


def read_pictures(key: str, pictures: Iterable[tuple[int, str]]) -> Call:
    """Read the pictures of these seeds and models; :func:`parse_pictures` reads the answer."""
    names = [picture_name(model_id, seed) for seed, model_id in pictures]
    return Call(SCRIPTS["read_pictures"], [key, PICTURES_KEY], names)


def parse_pictures(answer: Sequence[Any]) -> tuple[list[PublishedPicture], int]:
    """Read what :func:`read_pictures` answered: those that are there, and how many there are in this gallery."""
    total, *rest = answer
    return _pictures(rest), total


def name_pictures(key: str, most: int) -> Call:
    """Read the names of the newest pictures; :func:`split_name` reads each."""
    return Call(SCRIPTS["name_pictures"], [key], [most])


def add_pictures(pictures: Iterable[PublishedPicture]) -> Call:
    """Add pictures with the times that they have to the gallery of all; answers how many were not in it."""
    args: list[str | int] = []
    for one in pictures:
        args += [one.at_us, picture_name(one.model_id, one.seed), one.facts]
    return Call(SCRIPTS["add_pictures"], [GALLERY_KEY, PICTURES_KEY], args)


def _pictures(flat: Sequence[str]) -> list[PublishedPicture]:
    found = []
    for name, score, facts in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        with suppress(ValueError):  # what is none of ours keeps nobody from the others
            seed, model_id = split_name(name)
            found.append(PublishedPicture(model_id, seed, int(score), facts))
    return found


def _checked(after: str, pattern: str) -> str:
    if not re.fullmatch(pattern, after):
        raise SettingsError(f"after={shorten(after)}: give the 'next' of the page before")
    return after
