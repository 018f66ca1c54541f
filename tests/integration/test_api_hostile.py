"""Whatever is sent, the answer is below 500 and can be read. ``SEEDMILL_TEST_CASES`` says how often it is tried."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.problems import TYPE_PREFIX
from tests.integration.api import api_settings, asking
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

CASES = int(os.environ.get("SEEDMILL_TEST_CASES", "150"))

numbers = st.integers() | st.floats() | st.sampled_from([2**32 - 1, 2**32, -1, 10**4000, 1e400])
text = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(["\x00", "\ud800", "0..9", "7", "%2e%2e"])
anything = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
)
members = st.sampled_from(["seed", "seeds", "range", "priority", "metadata", "webhook", "force", "chunk_size"])
objects = st.dictionaries(members | text, anything, max_size=5)
nearly = st.dictionaries(members, anything, max_size=2).map(lambda more: {"seed": 7, **more})
bodies = (
    (objects | nearly | anything).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=100)
    | st.integers(1, 20_000).map(lambda depth: b'{"seed":1,"metadata":' + b'{"a":' * depth)
)
header_values = st.binary(min_size=1, max_size=300).filter(lambda value: not set(value) & {0, 10, 13})
PATHS = (
    "GET /v1/jobs/{}",
    "PUT /v1/jobs/{}",
    "GET /v1/jobs/{}/results",
    "GET /v1/jobs/{}/events",
    "POST /v1/jobs/{}/cancel",
    "GET /v1/jobs?after={}",
    "GET /v1/jobs?status={}",
    "GET /v1/images/{}",
    "GET /v1/images/{}/metadata",
    "GET /v1/images/{}/details",
    "GET /v1/images/{}/file",
    "GET /assets/{}",
    "GET /v1/images/7?model={}",
    "GET /v1/images?after={}",
    "GET /v1/images?order=seed&after={}",
    "GET /v1/images?q={}",
    "GET /v1/dead-letters/{}",
    "DELETE /v1/dead-letters/{}",
    "GET /{}",
)
HEADERS = (
    "Idempotency-Key",
    "Prefer",
    "Last-Event-ID",
    "X-Request-ID",
    "Authorization",
    "Content-Length",
    "traceparent",
)
tries = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))


class Api:
    """An app of this process, asked from outside its loop."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._runner = asyncio.Runner()
        self._context = asking(api_settings(endpoints, api_max_body_bytes=50_000))
        self._client = self._runner.run(self._context.__aenter__())

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self._runner.run(self._client.request(method, path, **options))

    def close(self) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture(scope="module")
def api(module_quiet: Endpoints, store: ObjectStore) -> Iterator[Api]:
    api = Api(module_quiet)
    yield api
    api.close()


def check(answer: httpx2.Response) -> None:
    assert answer.status_code < 500, answer.text
    document = answer.json()
    if answer.status_code >= 400:
        assert document["type"].startswith(TYPE_PREFIX)
        assert 0 < len(document["detail"]) < 2000


@tries
@given(body=bodies, content_type=st.sampled_from(["application/json", "text/plain", "multipart/form-data", ""]))
def test_any_body_is_taken_or_refused(api: Api, body: bytes, content_type: str) -> None:
    answer = api.ask("POST", "/v1/jobs", content=body, headers={"Content-Type": content_type})
    check(answer)
    if answer.status_code == 202:
        check(api.ask("GET", answer.headers["location"]))


@tries
@given(value=st.text(st.characters(codec="utf-8"), min_size=1, max_size=250), path=st.sampled_from(PATHS))
def test_any_id_is_known_or_refused(api: Api, value: str, path: str) -> None:
    method, template = path.split(" ")
    answer = api.ask(method, template.format(quote(value, safe="")), content=b'{"seed":1}' if method == "PUT" else None)
    if answer.headers.get("content-type", "").endswith("json"):
        check(answer)
    else:
        assert answer.status_code < 500


@tries
@given(value=header_values, name=st.sampled_from(HEADERS))
def test_any_header_is_read_or_refused(api: Api, value: bytes, name: str) -> None:
    if name == "Prefer" and b"wait" in value:
        value = b"wait=0"
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs/none/events")):
        check(api.ask(method, path, content=b'{"seed":1}', headers=[(name.encode(), value)]))
