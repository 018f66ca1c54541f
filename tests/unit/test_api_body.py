"""Bodies of submits: whatever is in them, they are read or refused with what is wrong."""

from __future__ import annotations

import json
import time

import pytest

from producer.api.body import parse_order
from producer.api.openapi import EXAMPLES
from producer.api.problem import ProblemError
from producer.contract import Priority
from producer.errors import InvalidSeed
from producer.problems import of_error
from tests.support import run_python


def test_a_body_is_read_with_all_that_it_may_have() -> None:
    body = {
        "range": "5..9",
        "priority": "bulk",
        "metadata": {"a": [1, None, "\u00e9"]},
        "webhook": "https://example.com/x",
        "force": True,
        "chunk_size": 3,
    }
    order = parse_order(json.dumps(body).encode())
    assert (list(order.seeds), order.priority, order.force, order.chunk_size) == (
        [5, 6, 7, 8, 9],
        Priority.BULK,
        True,
        3,
    )
    assert (json.loads(order.metadata), order.webhook) == (body["metadata"], "https://example.com/x")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_bodies_that_the_documents_offer_can_be_sent(name: str) -> None:
    order = parse_order(json.dumps(EXAMPLES[name]["value"]).encode())
    assert (len(order.seeds), order.webhook) == ({"one": 1, "range": 1000, "several": 3}[name], "")


def test_bodies_that_mean_the_same_have_one_fingerprint() -> None:
    bodies = b'{"seeds":[1,2],"force":false}', b'{ "force": false, "seeds": [1, 2] }', b'{"seeds":[2,1],"force":false}'
    first, second, third = (parse_order(body).fingerprint for body in bodies)
    assert first == second != third


@pytest.mark.parametrize(
    ("body", "name", "words"),
    [
        (b'{"seed": true}', "invalid-seed", "true is not a seed"),
        (b'{"seed": 7.0}', "invalid-seed", "7.0 is not a seed"),
        (b'{"seed": "7"}', "invalid-seed", '"7" is not a seed'),
        (b'{"seed": null}', "invalid-seed", "null is not a seed"),
        (b'{"seeds": [1, -1]}', "invalid-seed", "-1 is not a seed"),
        (b'{"seeds": []}', "invalid-seed", "an empty list"),
        (b'{"seeds": 7}', "invalid-seed", "not an array"),
        (b'{"range": "9..1"}', "invalid-seed", "runs backwards"),
        (b'{"range": "7 8"}', "invalid-seed", '"7 8" is not a range'),
        (b'{"range": "0..1000000"}', "invalid-seed", "1000001"),
        (b"{}", "invalid-request", "exactly one of seed, seeds and range, not none"),
        (b'{"seed": 1, "range": "1..2"}', "invalid-request", "range and seed"),
        (b'{"seed": [7]}', "invalid-seed", "an array is not a seed"),
        (b'{"seeds": [1, {}]}', "invalid-seed", "an object is not a seed"),
        (b'{"seeds": true}', "invalid-seed", "true is not an array"),
        (b'{"range": 7}', "invalid-seed", "7 is not a range"),
        (b'{"seed": "' + b"7" * 99 + b'"}', "invalid-seed", "7... is not a seed"),
        (b'{"seed": 1, "colour": 2}', "invalid-request", "'colour' is not known: there are seed, seeds, range"),
        (b'{"seed": 1, "metadata": [2]}', "invalid-request", "metadata is not an object"),
        (b'{"seed": 1, "force": 1}', "invalid-request", "force=1"),
        (b'{"seed": 1, "priority": "high"}', "invalid-request", "priority='high'"),
        (b'{"seed": 1, "chunk_size": 2000}', "invalid-request", "chunk_size=2000"),
        (b'{"seed": 1, "seed": 2}', "invalid-request", "'seed' stands twice"),
        (b'{"seed": NaN}', "invalid-request", "NaN is no number"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "invalid-request", "4300 digits"),
        (b'{"seed": 1, "metadata": {"x": 1e999}}', "invalid-request", "cannot be kept"),
        (b'{"seed": 1, "metadata": {"x": "\\ud800"}}', "invalid-request", "cannot be kept"),
        (b'{"seed": 1, "metadata": {"x": "' + b"y" * 9000 + b'"}}', "invalid-request", "9008 bytes"),
        (b'{"seed": 1, "metadata": {"x": ' + b"[" * 40 + b"]" * 40 + b"}}", "invalid-request", "32 levels"),
        (b"[" * 10_000, "invalid-request", "nested too deeply"),
        (b"[" * 100_000, "invalid-request", "more arrays, objects and strings"),
        (b'{"seeds": [' + b"1," * 1_100_000 + b"1]}", "invalid-seed", "more than 1000000 seeds"),
        (b'{"seed": 1, ' + b",".join(b'"m%d": 1' % n for n in range(2000)) + b"}", "invalid-request", "'m0' is no"),
        (b'{"seed": 1, "metadata": {"\xff": 1}}', "invalid-request", "not UTF-8"),
        (b"[7]", "invalid-request", "not an object"),
        (b"", "invalid-request", "no JSON"),
    ],
)
def test_a_wrong_body_is_refused_with_what_is_wrong(body: bytes, name: str, words: str) -> None:
    with pytest.raises((ProblemError, InvalidSeed)) as caught:
        parse_order(body)
    error = caught.value
    problem = of_error(error) if isinstance(error, InvalidSeed) else getattr(error, "problem")  # noqa: B009
    assert (problem.name, problem.status) == (name, 422)
    assert words in problem.detail
    assert len(problem.detail) < 400


def test_a_body_that_takes_all_its_bytes_for_something_strange_is_refused_soon_and_in_little_memory() -> None:
    done = run_python("-c", WORST)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300, "MB"


WORST = """
import re, time
from producer.api.body import parse_order

def fill(begin, part, end):
    return (begin + part * ((16_000_000 - len(begin)) // len(part)) + end).encode()

def most():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1]) // 1024

before = most()
for make in (
    lambda: fill('{"seeds":[', "4294967295,", "0]}")[:11_000_000] + b"5]}",
    lambda: fill('{"seeds":[', "[],", "0]}"),
    lambda: fill('{"seeds":[', "{},", "0]}"),
    lambda: fill('{"seeds":[', '"ab",', "0]}"),
    lambda: fill('{"seeds":[', "1e5,", "0]}"),
    lambda: fill('{"seeds":[', "300,", "0]}"),
    lambda: fill('{"seed":"\U0001f600', "a", '"}'),
    lambda: fill('{"seed":"\U0001f600', "\\\\u0001", '"}'),
    lambda: fill('{"seed":1,"metadata":{"\U0001f600', "a", '":1}}'),
    lambda: fill('{"seed":1,"metadata":{"":"\U0001f600', "a", '"}}'),
    lambda: fill('{', '"a1":1,', '"a":1}'),
):
    body, began = make(), time.monotonic()
    try:
        parse_order(body)
    except Exception as error:
        assert "Error" in type(error).__name__ or "Invalid" in type(error).__name__
    assert time.monotonic() - began < 5
print(most() - before)
"""


def test_a_member_that_stands_twice_among_many_is_found_soon() -> None:
    body = b'{"seed": 1, "metadata": {' + b",".join(b'"%d":1' % n for n in range(8000)) + b',"7999":1}}'
    began = time.process_time()
    with pytest.raises(ProblemError, match="'7999' stands twice"):
        parse_order(body)
    assert time.process_time() - began < 0.2
