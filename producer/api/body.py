"""The body of a submit, from bytes to something that can be enqueued; whatever is wrong with it is a problem.

Large bodies are read in threads of their own, so that others are answered meanwhile, and no body takes many times its
own size in memory. What is in a seed is checked where all seeds are (producer/seeds.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from producer.api.problem import ProblemError, explain
from producer.api.schemas import JobRequest
from producer.contract import MAX_JOB_SEEDS, Priority
from producer.errors import InvalidSeed
from producer.seeds import LIMITS, SHOWN_CHARACTERS, check_seeds, parse_seeds, shorten

THREAD_BYTES = 100_000
"""Longest body that is read where it arrives."""

THREADS = ThreadPoolExecutor(2, "body")
"""Where longer ones are read; more than two at once would take more memory and be no faster."""

MAX_METADATA_BYTES = 8 * 1024
MAX_DEPTH = 32
"""Most levels of arrays and objects in each other."""

MAX_OPENED = 2 * MAX_METADATA_BYTES
"""Most brackets that open an array or an object; each may cost twenty times its length."""

MAX_QUOTES = 4 * MAX_METADATA_BYTES
MAX_COMMAS = MAX_JOB_SEEDS + 2 * MAX_METADATA_BYTES

SPAN = re.compile(r"[0-9]{1,10}\.\.[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job as it was asked for, its seeds checked; ``fingerprint`` is the same for bodies that mean the same."""

    seeds: Sequence[int]
    priority: Priority | None
    metadata: str
    """JSON of the object that the caller keeps with the job, "" for none."""
    webhook: str
    force: bool
    chunk_size: int | None
    queue: str | None
    fingerprint: str


async def read_order(request: Request, limit: int) -> JobOrder:
    """Read the body of a request, at most ``limit`` bytes of it.

    Raises:
        ProblemError: it is too long, no JSON, or not of the right shape.
        InvalidSeed: naming the seed.
    """
    data = await _read(request, limit)
    if len(data) <= THREAD_BYTES:
        return parse_order(data)
    return await asyncio.get_running_loop().run_in_executor(THREADS, parse_order, data)


async def _read(request: Request, limit: int) -> bytes:
    length = request.headers.get("content-length", "")
    parts: list[bytes] = []
    size = int(length) if length.isdecimal() and length.isascii() else 0
    if size <= limit:
        size = 0
        try:
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > limit:
                    break
        except ClientDisconnect:
            raise ProblemError("invalid-request", f"the body broke off after {size} bytes") from None
    if size > limit:
        raise ProblemError(
            "body-too-large", f"the body has {size} bytes or more, and {limit} are taken: submit several jobs"
        )
    return b"".join(parts)


def parse_order(data: bytes) -> JobOrder:
    """Read a body; see :func:`read_order`."""
    _check_parts(data)
    try:
        return _order(_decode(data))
    except RecursionError:
        raise ProblemError("invalid-request", "the body is nested too deeply") from None


def _check_parts(data: bytes) -> None:
    """Refuse what no job has, before anything is made of it: the values of JSON take more memory than their text."""
    if data.count(b"[") + data.count(b"{") > MAX_OPENED or data.count(b'"') > MAX_QUOTES:
        raise ProblemError("invalid-request", "the body has more arrays, objects and strings than any job has")
    if data.count(b",") > MAX_COMMAS:
        raise InvalidSeed(f"more than {MAX_JOB_SEEDS} seeds in one job: submit several jobs")


def _order(document: dict[str, Any]) -> JobOrder:
    _check_names(document)
    try:
        wanted = JobRequest.model_validate(document)
    except ValidationError as error:
        raise ProblemError("invalid-request", explain(error.errors(include_url=False))) from None
    return JobOrder(
        _seeds(wanted),
        Priority(wanted.priority) if wanted.priority else None,
        _metadata(wanted.metadata),
        wanted.webhook or "",
        wanted.force,
        wanted.chunk_size,
        wanted.queue,
        hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest(),
    )


def _decode(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data, object_pairs_hook=_members, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise ProblemError("invalid-request", f"the body is not UTF-8: byte {error.start}") from None
    except ValueError as error:  # json's own, and that of a number of thousands of digits
        raise ProblemError("invalid-request", f"the body is no JSON that can be read: {error}") from None
    if not isinstance(document, dict):
        raise ProblemError("invalid-request", f'the body is {shorten(document)}, not an object such as {{"seed": 7}}')
    return document


def _check_names(document: Mapping[str, Any]) -> None:
    for name in document:
        if name not in JobRequest.model_fields:
            known = ", ".join(JobRequest.model_fields)
            raise ProblemError("invalid-request", f"the member {shorten(name)} is not known: there are {known}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the member {shorten(twice)} stands twice in one object")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _seeds(wanted: JobRequest) -> Sequence[int]:
    given = wanted.model_fields_set & {"seed", "seeds", "range"}
    if len(given) != 1:
        names = " and ".join(sorted(given)) or "none"
        raise ProblemError("invalid-request", f"give exactly one of seed, seeds and range, not {names}")
    if "seed" in given:
        return _check_numbers([wanted.seed])
    if "seeds" in given:
        if not isinstance(wanted.seeds, list):
            raise InvalidSeed(f"{_as_json(wanted.seeds)} is not an array of seeds: write it as [7, 8, 9]")
        return _check_numbers(wanted.seeds)
    if not isinstance(wanted.range, str) or not SPAN.fullmatch(wanted.range):
        raise InvalidSeed(f'{_as_json(wanted.range)} is not a range of seeds: write it as "0..999"')
    return parse_seeds([wanted.range])


def _check_numbers(values: list[Any]) -> Sequence[int]:
    for value in values:
        if type(value) is not int:
            raise InvalidSeed(f"{_as_json(value)} is not a seed: {LIMITS}")
    return check_seeds(values)


def _as_json(value: object) -> str:
    """Return a value that is not what it should be as the caller wrote it, cut to a length that fits a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and not isinstance(value, bool):
        return shorten(value)
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _metadata(value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    if not _shallow(value, MAX_DEPTH):
        raise ProblemError("invalid-request", f"metadata is nested more than {MAX_DEPTH} levels deep")
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except ValueError as error:  # a number beyond all bounds, half of a surrogate pair
        raise ProblemError("invalid-request", f"metadata cannot be kept: {error}") from None
    if size > MAX_METADATA_BYTES:
        raise ProblemError(
            "invalid-request", f"metadata has {size} bytes as JSON, more than {MAX_METADATA_BYTES}: keep it elsewhere"
        )
    return text


def _shallow(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_shallow(part, levels - 1) for part in parts)
