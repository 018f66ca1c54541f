"""What is a message for our task, and what is buried before Celery sees it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.contract import MAX_MESSAGE_BYTES, QUEUE
from producer.message import ChunkMessage
from worker.errors import MalformedMessage
from worker.queue.envelope import count_seeds, open_envelope
from worker.queue.ledger import Taken

GOOD = ChunkMessage("t", "j", 0, (7, 8)).encode()


def opened(text: str | bytes) -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    return open_envelope(Taken("3.0", QUEUE, len(data), data))


def test_a_message_of_ours_is_opened_under_the_tag_that_it_was_taken_with() -> None:
    message = opened(GOOD)
    assert message["properties"]["delivery_tag"] == "3.0"
    assert message["headers"]["id"] == "t"


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    message = json.loads(GOOD)
    change(message)
    return json.dumps(message)


def body(value: object) -> Callable[[dict[str, Any]], object]:
    return lambda message: message.update(body=json.dumps(value))


def header(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda message: message["headers"].__setitem__(name, value)


HOSTILE: dict[str, str | bytes] = {
    "no JSON": "hello",
    "nothing": "",
    "a list": "[1]",
    "no UTF-8": b"\xff\xfe",
    "too deep": "[" * 100_000,
    "no headers": changed(lambda message: message.pop("headers")),
    "headers as a list": changed(lambda message: message.update(headers=[])),
    "no id": changed(lambda message: message["headers"].pop("id")),
    "an empty id": changed(header("id", "")),
    "an id that is a number": changed(header("id", 5)),
    "an id of control characters": changed(header("id", "a\x1b[2Jb")),
    "an id that is too long": changed(header("id", "x" * 201)),
    "no task": changed(lambda message: message["headers"].pop("task")),
    "another task": changed(header("task", "os.system")),
    "a task that is a list": changed(header("task", ["seedmill.generate"])),
    "an eta": changed(header("eta", "2030-01-01T00:00:00")),
    "an expiry that is no time": changed(header("expires", "soon")),
    "an expiry that is an object": changed(header("expires", {"a": 1})),
    "retries as a text": changed(header("retries", "many")),
    "a time limit that is none": changed(header("timelimit", 5)),
    "a group that is an object": changed(header("group", {})),
    "no properties": changed(lambda message: message.pop("properties")),
    "no delivery info": changed(lambda message: message["properties"].pop("delivery_info")),
    "no routing key": changed(lambda message: message["properties"]["delivery_info"].pop("routing_key")),
    "an exchange that is none": changed(lambda message: message["properties"]["delivery_info"].update(exchange=None)),
    "pickle": changed(lambda message: message.update({"content-type": "application/x-python-serialize"})),
    "yaml": changed(lambda message: message.update({"content-type": "application/x-yaml"})),
    "no content type": changed(lambda message: message.pop("content-type")),
    "binary": changed(lambda message: message.update({"content-encoding": "binary"})),
    "no body": changed(lambda message: message.pop("body")),
    "a body that is an object": changed(lambda message: message.update(body={})),
    "a body that is not base64": changed(
        lambda message: message["properties"].update(body_encoding="base64") or message.update(body="%%%")
    ),
    "an unknown body encoding": changed(lambda message: message["properties"].update(body_encoding="gzip")),
    "a body that is no JSON": changed(lambda message: message.update(body="{")),
    "a body of two": changed(body([[], {}])),
    "a body that is a number": changed(body(5)),
    "positional arguments as an object": changed(body([{}, {}, {}])),
    "named arguments as a list": changed(body([[], [], {}])),
    "options as a list": changed(body([[], {}, []])),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_message_for_our_task_is_told_as_such(text: str | bytes) -> None:
    with pytest.raises(MalformedMessage):
        opened(text)


def test_a_message_with_an_id_says_it_so_that_its_waiter_can_be_told() -> None:
    with pytest.raises(MalformedMessage) as caught:
        opened(HOSTILE["a body of two"])
    assert caught.value.task_id == "t"


def test_a_message_that_is_too_long_is_not_even_read() -> None:
    with pytest.raises(MalformedMessage, match=str(MAX_MESSAGE_BYTES)):
        open_envelope(Taken("1.0", QUEUE, MAX_MESSAGE_BYTES + 1, GOOD.encode()))


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message["properties"].update(delivery_tag=None),
        lambda message: message["headers"].update(expires="2030-01-01T00:00:00"),
        lambda message: message.update(body="[[7], {}, null]"),
        lambda message: (
            message.update(body=base64.b64encode(b"[[7], {}, null]").decode())
            or message["properties"].update(body_encoding="base64")
        ),
        lambda message: message["properties"].update(priority=3),
        lambda message: message.update(unknown=1),
    ],
)
def test_what_other_senders_write_is_opened(change: Callable[[dict[str, Any]], object]) -> None:
    assert opened(changed(change))


@pytest.mark.parametrize(
    ("value", "seeds"),
    [
        ([[], {"seeds": [7, 8]}, None], 2),
        ([[[7, 8, 9]], {}, None], 3),
        ([[7], {}, None], 1),
        ([[], {"seeds": []}, None], 1),
        ([[], {}, {}], 1),
        ([[], {"seeds": "x"}, {}], 1),
    ],
)
def test_the_seeds_of_a_message_are_counted_however_they_are_given(value: object, seeds: int) -> None:
    assert count_seeds(opened(changed(body(value)))) == seeds


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
PATHS = [("headers", name) for name in json.loads(GOOD)["headers"]] + [
    *((name,) for name in json.loads(GOOD)),
    *(("properties", name) for name in json.loads(GOOD)["properties"]),
    ("properties", "body_encoding"),
    ("properties", "delivery_info", "routing_key"),
]


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_opened_or_told_as_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        opened(data)


@settings(max_examples=1000, deadline=None)
@given(path=st.sampled_from(PATHS), value=json_values)
def test_any_value_in_any_place_is_opened_or_told_as_malformed(path: tuple[str, ...], value: object) -> None:
    message = json.loads(GOOD)
    place = message
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with suppress(MalformedMessage):
        good = opened(json.dumps(message))
        assert good["properties"]["delivery_tag"] == "3.0"
        assert count_seeds(good) >= 1
