"""Seeds as callers give them: one integer, a list, a range, or text such as ``0..99``.

Everything is checked before anything is enqueued; whatever is wrong raises InvalidSeed naming the value.
Knows nothing of Redis or jobs: values come in, a tuple or a range of plain ints goes out.
"""

from __future__ import annotations

import operator
import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from producer.contract import MAX_JOB_SEEDS, MAX_SEED
from producer.errors import InvalidSeed

Seeds: TypeAlias = int | range | Iterable[int]
"""What ``submit`` takes."""

SHOWN_CHARACTERS = 60
NUMBER = re.compile(r"[+-]?[0-9]{1,20}")
SPAN = re.compile(r"([+-]?[0-9]{1,20})\.\.([+-]?[0-9]{1,20})")
PACKED_SPAN = re.compile(r"([0-9]{1,10})\.\.([0-9]{1,10})(?:\.\.([0-9]{1,10}))?")
LIMITS = f"a seed is a whole number from 0 to {MAX_SEED}"


def shorten(value: object) -> str:
    """Return ``repr(value)``, cut to a length that fits a message."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def check_seed(value: object) -> int:
    """Return ``value`` as a plain int.

    Anything with ``__index__`` passes (so NumPy integers do); bool, float, str and ``None`` do not.

    Raises:
        InvalidSeed: if it is not an integer, or below 0, or above 4294967295.
    """
    try:
        seed = operator.index(value)  # type: ignore[arg-type]  # the except clause is for what has no __index__
    except TypeError:
        seed = None
    if seed is None or isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        raise InvalidSeed(f"{shorten(value)} ({type(value).__name__}) is not a seed: {LIMITS}")
    if not 0 <= seed <= MAX_SEED:
        raise InvalidSeed(f"{shorten(seed)} is not a seed: {LIMITS}")
    return seed


def check_seeds(seeds: object) -> Sequence[int]:
    """Return the seeds of a job as a range or a tuple, at most :data:`~producer.contract.MAX_JOB_SEEDS` of them.

    Args:
        seeds: one integer, a ``range`` with a positive step, or an iterable of integers. Order and repetitions
            are kept.

    Raises:
        InvalidSeed: naming the first value that is wrong; also for nothing at all, a reversed range, or too many.
    """
    if isinstance(seeds, range):
        return _check_range(seeds)
    if isinstance(seeds, str):
        raise InvalidSeed(f"{shorten(seeds)} (str) is not a seed: {LIMITS}; a range is written range(0, 100) here")
    if isinstance(seeds, Mapping):
        raise InvalidSeed(f"{shorten(seeds)} ({type(seeds).__name__}) is not a list of seeds: give a list or a range")
    values = None if isinstance(seeds, bytes | bytearray) else _iterate(seeds)
    if values is None:
        return (check_seed(seeds),)
    checked: list[int] = []
    for value in values:
        checked.append(check_seed(value))
        if len(checked) > MAX_JOB_SEEDS:
            raise InvalidSeed(f"more than {MAX_JOB_SEEDS} seeds in one job: submit several jobs")
    if not checked:
        raise InvalidSeed("an empty list has no seeds: give at least one")
    return tuple(checked)


def _iterate(seeds: object) -> Iterator[object] | None:
    try:
        return iter(seeds)  # type: ignore[call-overload, no-any-return]  # the except clause is for the rest
    except TypeError:
        return None


def _check_range(span: range) -> range:
    if span.step < 0 or span.start > span.stop:
        raise InvalidSeed(f"{shorten(span)} runs backwards: give the smaller seed first")
    if not span:
        raise InvalidSeed(f"{shorten(span)} is empty: give at least one seed")
    check_seed(span[0])
    check_seed(span[-1])
    if len(span) > MAX_JOB_SEEDS:
        raise InvalidSeed(
            f"{shorten(span)} has {len(span)} seeds, more than {MAX_JOB_SEEDS} in one job: submit several jobs"
        )
    return span


def parse_seeds(words: Iterable[str]) -> Sequence[int]:
    """Read seeds written as text: numbers and inclusive ranges, as in ``7 8 100..199``; commas may separate them.

    Raises:
        InvalidSeed: naming the word that is wrong.
    """
    parts = [part for word in words for part in re.split(r"[,\s]+", word) if part]
    spans = [_parse_span(part) for part in parts]
    if len(spans) == 1:
        return check_seeds(spans[0])
    total = sum(map(len, spans))
    if total > MAX_JOB_SEEDS:
        raise InvalidSeed(f"{total} seeds, more than {MAX_JOB_SEEDS} in one job: submit several jobs")
    return check_seeds([seed for span in spans for seed in span])


def _parse_span(text: str) -> range:
    match = SPAN.fullmatch(text)
    if match:
        first, last = (check_seed(int(end)) for end in match.groups())
        if first > last:
            raise InvalidSeed(f"{shorten(text)} runs backwards: write {last}..{first}")
        if last - first >= MAX_JOB_SEEDS:
            raise InvalidSeed(f"{text} has {last - first + 1} seeds, more than {MAX_JOB_SEEDS}: submit several jobs")
        return range(first, last + 1)
    if not NUMBER.fullmatch(text):
        raise InvalidSeed(f"{shorten(text)} is not a seed: {LIMITS}; a range is written 0..99")
    seed = check_seed(int(text))
    return range(seed, seed + 1)


def pack(seeds: Sequence[int]) -> str:
    """Return checked seeds as a text that :func:`unpack` reads; of two lists it is the same if and only if they are.

    Seeds at equal distances, upwards, are ``first..last`` or ``first..last..step``. Others are eight hexadecimal digits
    each, so that any part can be read without the rest (worker/queue/scripts/take.lua does).
    """
    span = _as_range(seeds)
    if span is None:
        numbers = array("I", seeds)
        if sys.byteorder == "little":
            numbers.byteswap()
        return numbers.tobytes().hex()
    step = span[1] - span[0] if len(span) > 1 else 1
    return f"{span[0]}..{span[-1]}" + (f"..{step}" if step > 1 else "")


def _as_range(seeds: Sequence[int]) -> range | None:
    """Return the range that has these seeds, or ``None``."""
    if isinstance(seeds, range):
        return seeds
    step = seeds[1] - seeds[0] if len(seeds) > 1 else 1
    if step < 1 or seeds[-1] != seeds[0] + (len(seeds) - 1) * step:
        return None
    span = range(seeds[0], seeds[-1] + 1, step)
    return span if all(map(operator.eq, span, seeds)) else None


def unpack(text: str) -> Sequence[int]:
    """Return the seeds that :func:`pack` was given."""
    if span := PACKED_SPAN.fullmatch(text):
        return range(int(span[1]), int(span[2]) + 1, int(span[3] or 1))
    numbers = array("I", bytes.fromhex(text))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
