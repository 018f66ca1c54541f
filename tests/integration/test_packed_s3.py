"""The S3 server of the benchmark keeps in its one file what a worker writes, and gives that back."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.contract import IMAGE_CONTENT_TYPE, image_key, metadata_key
from tests.benchmarks.packed_s3 import FILE, MOST_SEEDS, stored
from tests.torture.bench import kill
from tests.torture.packed import start_packed
from worker.errors import ObjectMissing
from worker.local.servers import Server
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

PART = 8 << 20
MODEL = "model-0123456789abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    server = start_packed(folder, folder)
    yield server
    server.process.stop()


@pytest.fixture(scope="module")
def packed(server: Server) -> ObjectStore:
    """A worker's way to the server."""
    store = ObjectStore(Endpoints("", f"http://127.0.0.1:{server.port}").storage())
    store.ensure_bucket()
    return store


@pytest.mark.parametrize("key", [image_key(MODEL, 7), metadata_key(MODEL, MOST_SEEDS + 1), "model/probe"])
def test_what_was_written_last_is_read(packed: ObjectStore, key: str) -> None:
    with pytest.raises(ObjectMissing):
        packed.get(key)
    assert packed.size(key) is None
    for body in (b"first", b"", b"\x00 the last\n"):
        packed.put(key, body, IMAGE_CONTENT_TYPE)
        assert (packed.get(key), packed.size(key)) == (body, len(body))


def test_seeds_and_models_are_told_apart(packed: ObjectStore) -> None:
    keys = [image_key("a", 1), metadata_key("a", 1), image_key("a", 2), image_key("b", 1)]
    for key in keys:
        packed.put(key, key.encode(), IMAGE_CONTENT_TYPE)
    assert [packed.get(key) for key in keys] == [key.encode() for key in keys]


def test_a_file_comes_in_parts_and_goes_out_whole(packed: ObjectStore) -> None:
    body = os.urandom(2 * PART + 5)
    packed.put_file("jobs/j/manifest.jsonl", io.BytesIO(body), IMAGE_CONTENT_TYPE)
    assert packed.get("jobs/j/manifest.jsonl") == body


def test_an_object_that_its_writer_did_not_finish_is_none(packed: ObjectStore, server: Server, folder: Path) -> None:
    size = (folder / FILE).stat().st_size
    with socket.create_connection(("127.0.0.1", server.port)) as writer:
        writer.sendall(b"PUT /seedmill/torn HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        writer.shutdown(socket.SHUT_WR)
        assert writer.recv(1) == b"", "the server has let go of it"
    assert packed.size("torn") is None
    assert (folder / FILE).stat().st_size == size


def test_a_server_that_was_killed_has_what_it_had_and_nothing_torn(tmp_path: Path) -> None:
    first = start_packed(tmp_path, tmp_path)
    store = ObjectStore(Endpoints("", f"http://127.0.0.1:{first.port}").storage())
    for key, body in (("a/seed_0000000001.png", b"old"), ("a/seed_0000000001.png", b"new\n"), ("other", b"")):
        store.put(key, body, IMAGE_CONTENT_TYPE)
    kill(first.process)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"torn 10\nhalf")
    second = start_packed(tmp_path, tmp_path, port=first.port)
    assert (store.get("a/seed_0000000001.png"), store.get("other")) == (b"new\n", b"")
    store.put("next", b"whole", IMAGE_CONTENT_TYPE)
    assert (store.size("torn"), store.get("next")) == (None, b"whole")
    second.process.stop()
    assert [key for key, _ in stored(tmp_path / FILE)] == ["a/seed_0000000001.png"] * 2 + ["other", "next"]


def test_the_file_tells_what_was_written_in_order(tmp_path: Path) -> None:
    server = start_packed(tmp_path / "s3", tmp_path)
    store = ObjectStore(Endpoints("", f"http://127.0.0.1:{server.port}").storage())
    written = [(image_key(MODEL, 3), b"a\nb"), (image_key(MODEL, 3), b""), ("other", b"c")]
    for key, body in written:
        store.put(key, body, IMAGE_CONTENT_TYPE)
    server.process.stop()
    assert list(stored(tmp_path / "s3" / FILE)) == written
