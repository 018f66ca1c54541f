"""What the object store's client makes of servers that refuse, break off, hang or talk nonsense.

Where boto3 could do the same, both ways are held to the same: the same errors after the same number of requests.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import botocore.endpoint
import pytest

from tests.integration.scripted import OK, Reply, Scripted, answer, hang_up, reset, say, scripted_server, stay_silent
from tests.torture.bench import wait_until
from worker.errors import BucketMissing, ObjectMissing, StorageDenied, StorageError, StorageUnreachable
from worker.s3 import retries
from worker.s3.objects import BotoObjects
from worker.settings import StorageSettings
from worker.storage import ObjectStore

WAYS = ["ours", "boto3"]


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made between requests; none takes time."""
    made: list[float] = []
    for module in (retries, botocore.endpoint):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=made.append, time=time.time))
    return made


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def open_store(server: Scripted, way: str = "ours", *, connections: int = 10, **changes: Any) -> ObjectStore:
    settings = StorageSettings.load(
        s3_bucket="bucket",
        s3_prefix="",
        s3_endpoint_url=server.url,
        s3_region="us-east-1",
        s3_access_key_id="an-access-key",
        s3_secret_access_key="a-secret-key",
        s3_session_token="",
        **{"s3_timeout_s": 5.0, **changes},
    )
    store = ObjectStore(settings, connections=connections)
    if way == "boto3":
        store._opened = BotoObjects(store._s3, "bucket")
    return store


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "code", "error", "attempts"),
    [
        (503, "SlowDown", StorageUnreachable, 5),
        (503, "ServiceUnavailable", StorageUnreachable, 5),
        (500, "InternalError", StorageUnreachable, 5),
        (502, "", StorageUnreachable, 5),
        (504, "", StorageUnreachable, 5),
        (501, "NotImplemented", StorageUnreachable, 1),
        (429, "TooManyRequests", StorageUnreachable, 5),
        (429, "", StorageUnreachable, 5),
        (408, "", StorageUnreachable, 1),
        (400, "RequestTimeout", StorageUnreachable, 5),
        (409, "OperationAborted", StorageUnreachable, 1),
        (400, "ExpiredToken", StorageUnreachable, 1),
        (403, "RequestTimeTooSkewed", StorageUnreachable, 1),
        (403, "AccessDenied", StorageDenied, 1),
        (403, "", StorageDenied, 1),
        (400, "EntityTooLarge", StorageError, 1),
        (404, "NoSuchBucket", BucketMissing, 1),
        (404, "NoSuchKey", ObjectMissing, 1),
    ],
)
def test_a_refusal_is_told_and_tried_again_as_boto3_does(
    server: Scripted, pauses: list[float], way: str, status: int, code: str, error: type[StorageError], attempts: int
) -> None:
    server.always = say(answer(status, code))
    with pytest.raises(StorageError) as caught:
        open_store(server, way).put("a/b", b"data", "text/plain")
    assert type(caught.value) is error
    assert len(server.requests) == attempts
    assert len(pauses) == attempts - 1
    assert {request.body for request in server.requests} == {b"data"}


def test_a_store_with_too_much_to_do_is_given_more_time_than_one_that_failed(
    server: Scripted, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    for code in ("SlowDown", "InternalError"):
        server.always = say(answer(503, code))
        with pytest.raises(StorageUnreachable, match=f'{code}.*"why"'):
            open_store(server).put("a", b"", "text/plain")
    assert pauses == [1, 2, 4, 8, 0.05, 0.1, 0.2, 0.4]


@pytest.mark.parametrize("way", WAYS)
def test_a_store_that_fails_all_the_time_is_asked_once_a_call_in_the_end(
    server: Scripted, pauses: list[float], way: str
) -> None:
    server.always = say(answer(500))
    store = open_store(server, way)
    for _ in range(20):
        with pytest.raises(StorageUnreachable):
            store.put("a", b"", "text/plain")
    before = len(server.requests)
    with pytest.raises(StorageUnreachable):
        store.put("a", b"", "text/plain")
    assert len(server.requests) == before + 1
    assert before == 20 + 500 // 14


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_says_to_correct_the_region_or_the_endpoint(server: Scripted, status: int) -> None:
    server.always = say(answer(status, "PermanentRedirect", headers="x-amz-bucket-region: eu-west-1\r\n"))
    calls: list[Callable[[ObjectStore], object]] = [
        lambda store: store.put("a", b"", "text/plain"),
        lambda store: store.get("a"),
    ]
    for call in calls:
        with pytest.raises(StorageError, match=r"'us-east-1'.*eu-west-1.*AWS_REGION or AWS_ENDPOINT_URL_S3") as caught:
            call(open_store(server))
        assert not isinstance(caught.value, StorageUnreachable)
    server.always = say(answer(status, headers="x-amz-bucket-region: eu-west-1\r\n"))
    with pytest.raises(StorageError, match=r"AWS_REGION"):
        open_store(server).check_bucket()


def test_a_bucket_of_another_region_is_told_as_such_at_the_start(server: Scripted) -> None:
    server.always = say(answer(400, headers="x-amz-bucket-region: eu-west-1\r\n"))
    with pytest.raises(StorageError, match=r"eu-west-1.*AWS_REGION"):
        open_store(server).check_bucket()


@pytest.mark.parametrize("reply", [hang_up, reset, say(b"HTTP/1.1 200 OK\r\nContent-"), say(b"hello\r\n\r\n")])
def test_a_connection_that_breaks_is_tried_again(server: Scripted, pauses: list[float], reply: Reply) -> None:
    server.replies = [_then_close(reply), _then_close(reply)]
    open_store(server).put("a", b"data", "text/plain")
    assert len(pauses) == 2
    server.always = _then_close(reply)
    with pytest.raises(StorageUnreachable, match="cannot be reached"):
        open_store(server).put("a", b"data", "text/plain")
    assert len(server.requests) == 3 + 5


def _then_close(reply: Reply) -> Reply:
    return lambda visit, request: reply(visit, request) and False


def test_a_kept_connection_that_the_server_has_closed_is_no_outage(server: Scripted, pauses: list[float]) -> None:
    server.always = say(OK, then_close=True)
    store = open_store(server)
    for _ in range(3):
        store.put("a", b"data", "text/plain")
        wait_until(lambda: not server.open, "the server's end")
    assert (len(server.requests), server.accepted, pauses) == (3, 3, [])


def test_a_kept_connection_that_the_server_closes_at_the_next_request_is_no_outage(
    server: Scripted, pauses: list[float]
) -> None:
    for reply in (hang_up, reset):
        server.replies = [say(OK), reply]
        store = open_store(server)
        for _ in range(2):
            store.put("a", b"data", "text/plain")
    assert (len(server.requests), pauses) == (6, [])


def test_a_server_that_says_close_is_believed(server: Scripted) -> None:
    server.always = say(answer(200, headers="Connection: close\r\n"))
    store = open_store(server)
    for _ in range(2):
        store.put("a", b"", "text/plain")
    assert server.accepted == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_stays_silent_is_waited_for_no_longer_than_the_settings_say(
    server: Scripted, pauses: list[float], way: str
) -> None:
    server.always = stay_silent
    started = time.monotonic()
    with pytest.raises(StorageUnreachable, match="timeout"):
        open_store(server, way, s3_timeout_s=0.2).put("a", b"data", "text/plain")
    assert len(server.requests) == 5
    assert 1 <= time.monotonic() - started < 8


def test_an_object_that_comes_in_part_is_read_again(server: Scripted, pauses: list[float]) -> None:
    server.replies = [say(answer(200, body=b"0123456789")[:-4], then_close=True), say(answer(200, body=b"0123456789"))]
    assert open_store(server).get("a") == b"0123456789"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n0123\r\n2\r\n45\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:6\r\n\r\n012345",
        b"HTTP/1.1 200 OK\r\n\r\n012345",
        b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\n012345",
    ],
    ids=["in chunks", "after a hundred", "until the end", "old"],
)
def test_an_object_is_read_however_it_is_sent(server: Scripted, said: bytes) -> None:
    endless = b"chunked" not in said and b"ength" not in said
    server.always = say(said, then_close=endless)
    store = open_store(server)
    assert [store.get("a") for _ in range(2)] == [b"012345"] * 2


@pytest.mark.parametrize("way", WAYS)
def test_the_size_of_an_object_is_told_without_reading_it(server: Scripted, way: str) -> None:
    server.replies = [say(b"HTTP/1.1 200 OK\r\nContent-Length: 55000\r\n\r\n"), say(answer(404))]
    store = open_store(server, way)
    assert store.size("there") == 55000
    assert store.size("not there") is None
    assert {request.method for request in server.requests} == {"HEAD"}


def test_a_size_that_is_not_told_is_that_of_the_object_read(server: Scripted) -> None:
    server.replies = [say(b"HTTP/1.1 200 OK\r\n\r\n"), say(answer(200, body=b"12345"))]
    assert open_store(server).size("a") == 5


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("RequestTimeTooSkewed", StorageUnreachable),
        ("ExpiredToken", StorageUnreachable),
        ("AccessDenied", StorageDenied),
    ],
)
def test_a_size_that_is_refused_without_a_word_is_asked_for_in_a_way_that_says_why(
    server: Scripted, code: str, error: type[StorageError]
) -> None:
    server.replies, server.always = [say(answer(403))], say(answer(403, code))
    with pytest.raises(StorageError) as caught:
        open_store(server).size("a")
    assert type(caught.value) is error


def test_no_more_connections_are_open_than_allowed_and_none_is_left(server: Scripted) -> None:
    store = open_store(server, connections=2)
    with ThreadPoolExecutor(16) as pool:
        put = partial(store.put, data=b"x" * 300_000, content_type="text/plain")
        list(pool.map(put, map(str, range(64))))
    assert server.most_open <= 2
    assert len(server.requests) == 64
    assert server.accepted <= 3, "they are kept"
    del store, put
    gc.collect()
    wait_until(lambda: not server.open, "the end of all connections")


def test_a_large_body_arrives_whole_with_its_length_and_type(server: Scripted) -> None:
    data = bytes(range(256)) * 8192
    open_store(server).put("a b", data, "image/png")
    (request,) = server.requests
    assert request.line == "PUT /bucket/a%20b HTTP/1.1"
    assert request.body == data
    assert (request.headers["content-type"], request.headers["content-length"]) == ("image/png", str(len(data)))
    assert request.headers["x-amz-content-sha256"] == sha256(data).hexdigest(), "so that a server can refuse another"


def test_a_server_that_refuses_before_it_has_read_all_is_heard(server: Scripted, pauses: list[float]) -> None:
    server.reads_bodies = False
    server.always = say(answer(400, "EntityTooLarge"), then_close=True)
    with pytest.raises(StorageError, match="EntityTooLarge"):
        open_store(server).put("a", bytes(50_000_000), "text/plain")
    assert (len(server.requests), pauses) == (1, [])


def test_a_refusal_that_may_have_come_before_the_body_was_read_ends_its_connection(server: Scripted) -> None:
    """Else what a server takes for the next request is answered, and that answer taken for one of ours."""
    store = open_store(server)
    server.replies = [say(answer(403, "AccessDenied"))]
    server.reads_bodies = False
    with pytest.raises(StorageError, match="refused the keys"):
        store.put("k", b"GET /stray HTTP/1.1\r\n\r\n", "text/plain")
    server.reads_bodies = True
    server.always = say(answer(200, body=b"mine"))
    assert store.get("k") == b"mine"
    assert server.accepted == 2
    assert "/stray" not in [request.line for request in server.requests]


def test_a_large_body_that_is_refused_unread_is_a_refusal_and_no_outage(server: Scripted) -> None:
    server.reads_bodies = False
    server.always = say(answer(403, "AccessDenied"))
    with pytest.raises(StorageError, match="refused the keys") as caught:
        open_store(server, s3_timeout_s=0.5).put("k", bytes(16_000_000), "text/plain")
    assert not isinstance(caught.value, StorageUnreachable)


def test_a_server_that_only_ever_says_that_it_goes_on_is_left(server: Scripted, pauses: list[float]) -> None:
    server.always = say(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
    with pytest.raises(StorageUnreachable):
        open_store(server).get("k")


@pytest.mark.parametrize("field", ["s3_access_key_id", "s3_session_token"])
def test_a_key_with_a_line_break_is_told(server: Scripted, field: str) -> None:
    keys = {"s3_access_key_id": "key", "s3_session_token": ""}
    settings = StorageSettings.load(
        s3_bucket="bucket",
        s3_endpoint_url=server.url,
        s3_region="us-east-1",
        s3_secret_access_key="a-secret-key",
        **{**keys, field: "abc\r\nx-amz-acl: public-read"},
    )
    with pytest.raises(StorageError, match="line break"):
        ObjectStore(settings).get("k")
    assert server.requests == []
