"""What Celery would choke on is found before Celery sees it: bytes come in, a message for our task goes out.

A malformed message crashes a stock Celery worker, sends it into a loop, or is acknowledged without a word; here it
becomes a dead letter, and a failure for those who wait for its task id. Knows nothing of Redis.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from celery.utils.time import maybe_iso8601

from producer.contract import MAX_MESSAGE_BYTES, TASK_NAME, is_id
from producer.seeds import shorten
from worker.errors import MalformedMessage
from worker.queue.ledger import Taken


def open_envelope(taken: Taken) -> dict[str, Any]:
    """Return the message as Celery's code takes it; its delivery tag is the one under which it was taken.

    Raises:
        MalformedMessage: naming what is wrong; ``task_id`` is set where there is one.
    """
    if taken.size > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"{taken.size} bytes in one message, at most {MAX_MESSAGE_BYTES}")
    message = _mapping(_json(taken.text, "the message"), "the message")
    headers = _mapping(message.get("headers"), "headers")
    task_id = headers.get("id")
    if not is_id(task_id) or not task_id.isprintable():
        raise MalformedMessage(f"headers.id is {shorten(task_id)}: it must be a text of 1 to 200 characters")
    try:
        _check_headers(headers)
        _read_body(message)
        properties = dict(_mapping(message.get("properties"), "properties"))
        info = _mapping(properties.get("delivery_info"), "properties.delivery_info")
        for name in ("exchange", "routing_key"):
            if not isinstance(info.get(name), str):
                raise MalformedMessage(f"properties.delivery_info.{name} is {shorten(info.get(name))}: not a text")
    except MalformedMessage as error:
        error.task_id = task_id
        raise
    properties["delivery_tag"] = taken.tag
    return {**message, "properties": properties}


def count_seeds(message: dict[str, Any]) -> int:
    """Return how many seeds a message has that was opened; 1 where that is for others to judge."""
    args, kwargs, _ = _read_body(message)
    seeds = kwargs.get("seeds", args[0] if args else None)
    return max(1, len(seeds)) if isinstance(seeds, list) else 1


def _check_headers(headers: dict[str, Any]) -> None:
    if headers.get("task") != TASK_NAME:
        raise MalformedMessage(f"headers.task is {shorten(headers.get('task'))}: this queue is for {TASK_NAME!r} alone")
    if headers.get("eta") is not None:
        raise MalformedMessage(f"headers.eta is {shorten(headers['eta'])}: countdown and eta do not work here")
    try:
        maybe_iso8601(headers.get("expires"))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise MalformedMessage(f"headers.expires is {shorten(headers['expires'])}: not a time in ISO 8601") from error
    for name in (
        "group",
        "root_id",
        "parent_id",
        "shadow",
        "argsrepr",
        "kwargsrepr",
        "origin",
    ):
        if not isinstance(headers.get(name), str | None):
            raise MalformedMessage(f"headers.{name} is {shorten(headers[name])}: not a text")
    if not isinstance(headers.get("retries", 0), int) or not isinstance(headers.get("timelimit"), list | None):
        raise MalformedMessage("headers.retries or headers.timelimit is not what Celery writes")


def _read_body(message: dict[str, Any]) -> tuple[list[Any], dict[str, Any], object]:
    """Return args, kwargs and what Celery embeds."""
    if message.get("content-type") != "application/json":
        raise MalformedMessage(f"content-type is {shorten(message.get('content-type'))}: only JSON is read")
    if message.get("content-encoding", "utf-8") not in ("utf-8", "UTF-8"):
        raise MalformedMessage(f"content-encoding is {shorten(message.get('content-encoding'))}: only utf-8 is read")
    body = message.get("body")
    if not isinstance(body, str):
        raise MalformedMessage(f"the body is {shorten(body)}: not a text")
    encoding = _mapping(message.get("properties"), "properties").get("body_encoding")
    if encoding == "base64":
        try:
            content = base64.b64decode(body, validate=True)
        except (ValueError, binascii.Error) as error:
            raise MalformedMessage(f"the body is not base64: {error}") from error
    elif encoding is None:
        content = body.encode("utf-8", "surrogatepass")
    else:
        raise MalformedMessage(f"properties.body_encoding is {shorten(encoding)}: use base64")
    parts = _json(content, "the body")
    if not (isinstance(parts, list) and len(parts) == 3):  # args, kwargs, embed
        raise MalformedMessage(f"the body is {shorten(parts)}: it must be [args, kwargs, embed]")
    args, kwargs, embed = parts
    if not (isinstance(args, list) and isinstance(kwargs, dict) and isinstance(embed, dict | None)):
        raise MalformedMessage(f"the body is {shorten(parts)}: it must be a list, an object, and an object or null")
    return args, kwargs, embed


def _json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"{what} is not JSON: {error}") from error


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedMessage(f"{what} is {shorten(value)}: not an object")
    return value
