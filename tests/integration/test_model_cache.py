"""A model in a real S3 server: fetched once, checked, resumed, and kept under its SHA-256."""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from tests.support import delete_object, run_worker_command
from tests.torture.policed import Policy, policed
from tests.torture.proxy import Proxy
from worker import model_cache
from worker.errors import CheckpointError
from worker.loading import load_engine
from worker.local.process import free_port
from worker.local.stack import Endpoints
from worker.model_cache import model_files
from worker.settings import WorkerSettings
from worker.storage import ObjectStore, _checksum

BUCKET = "models"
SIZE = 3_000_000
DATA = random.Random(7).randbytes(SIZE)
SHA256 = hashlib.sha256(DATA).hexdigest()
URI = f"s3://{BUCKET}/some folder/best.pt"


@pytest.fixture(scope="session")
def models(endpoints: Endpoints) -> ObjectStore:
    """A bucket of models."""
    settings = endpoints.storage().model_copy(update={"s3_bucket": BUCKET, "s3_create_bucket": True})
    store = ObjectStore(settings)
    store.ensure_bucket()
    return store


class Fetch(NamedTuple):
    """What fetches a checkpoint, and what came of it."""

    settings: WorkerSettings
    cache: Path

    def __call__(self, **changes: Any) -> Path:
        return model_files(self.settings.model_copy(update=changes))[0]

    def names(self) -> list[str]:
        """Return what is in the cache, locks and notes left out."""
        return sorted(path.name for path in self.cache.iterdir() if path.suffix not in {".lock", ".from"})


@pytest.fixture
def fetch(endpoints: Endpoints, models: ObjectStore, tmp_path: Path) -> Iterator[Fetch]:
    """Fetches DATA, whose digest is in an object beside it, into an empty cache; the tokenizer is a path."""
    models.put("some folder/best.pt", DATA, "application/octet-stream")
    models.put("some folder/best.pt.sha256", f"{SHA256}  best.pt\n".encode(), "text/plain")
    values = endpoints.storage().model_dump()
    cache = tmp_path / "cache"
    settings = WorkerSettings.load(**{**values, "checkpoint": URI, "checkpoint_cache": cache, "tokenizer": "x.json"})
    yield Fetch(settings, cache)
    for key in list(models.keys("some folder/")):
        delete_object(models, key)


def fetched(logs: Any) -> list[dict[str, Any]]:
    return [line for line in logs if line["action"] == "model_fetched"]


def test_a_checkpoint_is_fetched_once_and_kept_under_its_digest(fetch: Fetch, models: ObjectStore) -> None:
    with capture_logs() as logs:
        path = fetch()
        assert (path, path.read_bytes()) == (fetch.cache / f"{SHA256}.pt", DATA)
        assert fetch() == path
    assert [(line["bytes"], line["resumed_at"]) for line in fetched(logs)] == [(SIZE, 0)]
    assert fetch.names() == [path.name]
    for key in list(models.keys("some folder/")):
        delete_object(models, key)
    assert fetch(checkpoint_sha256=SHA256) == path, "who names the digest needs no store for what is there"


def test_a_checkpoint_of_which_nobody_says_the_digest_is_refused(fetch: Fetch, models: ObjectStore) -> None:
    delete_object(models, "some folder/best.pt.sha256")
    with pytest.raises(CheckpointError, match=r"best\.pt: nobody says.*SEEDMILL_CHECKPOINT_SHA256.*best\.pt\.sha256"):
        fetch()
    assert not fetch.cache.exists()
    assert fetch(checkpoint_sha256=SHA256).read_bytes() == DATA
    models.put("some folder/best.pt.sha256", b"not yet", "text/plain")
    with pytest.raises(CheckpointError, match=r"best\.pt\.sha256 is no SHA-256"):
        fetch()


def test_the_digest_that_the_store_has_of_the_whole_object_will_do(
    fetch: Fetch, models: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_object(models, "some folder/best.pt.sha256")
    describe = ObjectStore.describe
    monkeypatch.setattr(
        ObjectStore, "describe", lambda *args: describe(*args).__class__(SIZE, SHA256)
    )  # rclone tells of none
    assert fetch().read_bytes() == DATA
    whole = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="
    assert _checksum({"ChecksumSHA256": whole}) == hashlib.sha256(b"test").hexdigest()
    assert _checksum({"ChecksumSHA256": f"{whole}-3"}) == _checksum({}) == "", "that of parts says nothing of the whole"


def test_a_file_with_another_digest_is_refused_and_leaves_nothing(fetch: Fetch, models: ObjectStore) -> None:
    wrong = "0" * 64
    with pytest.raises(CheckpointError, match=f"is {wrong} by SEEDMILL_CHECKPOINT_SHA256, {SHA256} by s3.*sha256"):
        fetch(checkpoint_sha256=wrong)
    assert not fetch.cache.exists(), "refused before anything is fetched"
    delete_object(models, "some folder/best.pt.sha256")
    with pytest.raises(CheckpointError, match=f"has SHA-256 {SHA256}, and should have {wrong}"):
        fetch(checkpoint_sha256=wrong)
    assert fetch.names() == []


@pytest.mark.parametrize(
    "there",
    [DATA[: SIZE // 3], DATA, DATA + b"more", b"x" * 1000, b""],
    ids=["a third", "all", "more", "something else", "nothing"],
)
def test_what_a_broken_download_left_is_gone_on_with_or_made_anew(fetch: Fetch, there: bytes) -> None:
    fetch.cache.mkdir()
    (fetch.cache / f".{SHA256}.pt.part").write_bytes(there)
    with capture_logs() as logs:
        assert fetch().read_bytes() == DATA
    (line,) = fetched(logs)
    assert line["resumed_at"] == (len(there) if there and DATA.startswith(there) else 0)
    assert fetch.names() == [f"{SHA256}.pt"]


def test_a_connection_that_breaks_costs_what_was_not_there_yet(
    fetch: Fetch, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "PAUSE_S", 0.01)
    part = fetch.cache / f".{SHA256}.pt.part"
    proxy = Proxy(int(endpoints.s3_url.rpartition(":")[2]), delay_s=0.01)

    def cut() -> None:
        while not (part.exists() and part.stat().st_size):
            time.sleep(0.001)
        proxy.reset()

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    try:
        with capture_logs() as logs:
            path = fetch(s3_endpoint_url=f"http://127.0.0.1:{proxy.port}")
    finally:
        proxy.close()
    thread.join(10)
    assert path.read_bytes() == DATA
    assert [line["action"] for line in logs].count("model_download_broken") == 1
    assert len(fetched(logs)) == 1


def test_a_damaged_file_of_the_cache_is_fetched_again(fetch: Fetch) -> None:
    path = fetch()
    for damage in (DATA[:-1], b"x" + DATA[1:]):
        path.write_bytes(damage)
        with capture_logs() as logs:
            assert fetch().read_bytes() == DATA
        assert [line["action"] for line in logs] == ["model_damaged", "model_fetched"]


def test_of_many_at_once_one_fetches_and_the_others_wait(fetch: Fetch, endpoints: Endpoints) -> None:
    proxy = Proxy(int(endpoints.s3_url.rpartition(":")[2]), delay_s=0.01)
    try:
        with capture_logs() as logs, ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda _: fetch(s3_endpoint_url=f"http://127.0.0.1:{proxy.port}"), range(4)))
    finally:
        proxy.close()
    assert {path.read_bytes() == DATA for path in found} == {True}
    assert len(fetched(logs)) == 1


def test_another_location_has_to_have_the_file_that_is_there(fetch: Fetch, models: ObjectStore) -> None:
    path = fetch()
    other = random.Random(8).randbytes(SIZE)
    for name, data in (("new.pt", other), ("same.pt", DATA), ("short.pt", DATA[:-1])):
        models.put(f"some folder/{name}", data, "application/octet-stream")
    models.put("some folder/new.pt.sha256", hashlib.sha256(other).hexdigest().encode(), "text/plain")
    for name, told in (
        ("none.pt", r"none\.pt is not in bucket 'models'.*correct SEEDMILL_CHECKPOINT,"),
        ("new.pt", r"by SEEDMILL_CHECKPOINT_SHA256, .* by s3://models/some folder/new\.pt\.sha256: correct"),
        ("short.pt", f"has {SIZE - 1} bytes, .* has {SIZE}"),
    ):
        for _ in range(2):  # what was refused is not noted
            with pytest.raises(CheckpointError, match=told):
                fetch(checkpoint=f"s3://{BUCKET}/some folder/{name}", checkpoint_sha256=SHA256)
    with capture_logs() as logs:
        assert fetch(checkpoint=f"s3://{BUCKET}/some folder/same.pt", checkpoint_sha256=SHA256) == path
    assert not fetched(logs)
    models.put("some folder/best.pt", DATA[:-1], "application/octet-stream")
    with pytest.raises(CheckpointError, match=f"has {SIZE - 1} bytes"):
        fetch()  # an object that is no longer what stands beside it, though the cache has that


def test_a_store_that_is_away_stops_only_who_names_a_new_location(fetch: Fetch, endpoints: Endpoints) -> None:
    proxy = Proxy(int(endpoints.s3_url.rpartition(":")[2]))
    known = {"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}", "checkpoint_sha256": SHA256, "s3_timeout_s": 0.2}
    try:
        path = fetch(**{**known, "s3_timeout_s": 10.0})
    finally:
        proxy.close()
    assert fetch(**known) == path
    with pytest.raises(CheckpointError, match="cannot be reached"):
        fetch(**known, checkpoint=f"s3://{BUCKET}/some folder/new.pt")


def test_what_is_there_is_read_without_a_lock_or_a_cache_that_can_be_written(fetch: Fetch) -> None:
    path = fetch()
    lock, note = (fetch.cache / f".{path.name}.{kind}" for kind in ("lock", "from"))
    with lock.open("a") as held, ThreadPoolExecutor(1) as threads, capture_logs() as logs:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            assert threads.submit(model_files, fetch.settings).result(30)[0] == path
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)
    assert not logs
    for file in (lock, note):
        file.unlink()
        file.mkdir()  # which nobody can write to, not even root
    assert fetch() == fetch(checkpoint_sha256=SHA256) == path


def test_keys_that_may_not_list_go_without_a_digest_beside_the_file(
    fetch: Fetch, models: ObjectStore, endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_object(models, "some folder/best.pt.sha256")
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}), encoding="utf-8")
    with policed(Policy(policy), int(endpoints.s3_url.rpartition(":")[2])) as server:
        with pytest.raises(CheckpointError, match=r"denies s3.*best\.pt\.sha256 to these keys.*keeps no SHA-256"):
            fetch(s3_endpoint_url=server.url)
        describe = ObjectStore.describe
        monkeypatch.setattr(ObjectStore, "describe", lambda *args: describe(*args).__class__(SIZE, SHA256))
        assert fetch(s3_endpoint_url=server.url).read_bytes() == DATA
        with pytest.raises(CheckpointError, match="refused the keys"):
            fetch(s3_endpoint_url=server.url, checkpoint=f"s3://{BUCKET}/none.pt")


def test_a_full_disk_is_told_with_what_it_takes(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(fetch.cache.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=SIZE - 1))
    with pytest.raises(CheckpointError, match=f"takes {SIZE} bytes more, and {SIZE - 1} are free.*CHECKPOINT_CACHE"):
        fetch()


def test_a_cache_that_cannot_be_written_is_told(fetch: Fetch) -> None:
    fetch.cache.write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot be kept.*SEEDMILL_CHECKPOINT_CACHE"):
        fetch()


def test_what_is_not_in_the_store_and_a_store_that_is_away_are_told(fetch: Fetch, models: ObjectStore) -> None:
    with pytest.raises(CheckpointError, match=r"s3://models/none\.pt: none\.pt is not in bucket 'models'"):
        fetch(checkpoint="s3://models/none.pt", checkpoint_sha256=SHA256)
    with pytest.raises(
        CheckpointError, match=r"bucket 'no-models' .* does not exist: correct SEEDMILL_CHECKPOINT,"
    ) as no:
        fetch(checkpoint="s3://no-models/best.pt", checkpoint_sha256=SHA256)
    assert "SEEDMILL_S3" not in str(no.value), "that is the bucket of the pictures"
    away = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(CheckpointError, match="cannot be reached"):
        fetch(s3_endpoint_url=away, s3_timeout_s=0.2)


Upload = Callable[[Path], str]


@pytest.fixture
def upload(models: ObjectStore) -> Iterator[Upload]:
    """Puts a model into the bucket, with the digests beside its files; returns its URI."""

    def put(folder: Path) -> str:
        for name in ("best.pt", "tokenizer.json"):
            data = (folder / name).read_bytes()
            models.put(f"whole/{name}", data, "application/octet-stream")
            models.put(f"whole/{name}.sha256", hashlib.sha256(data).hexdigest().encode(), "text/plain")
        return f"s3://{BUCKET}/whole/best.pt"

    yield put
    for key in list(models.keys("whole/")):
        delete_object(models, key)


def test_a_model_of_the_store_is_the_same_as_from_a_path(
    upload: Upload, endpoints: Endpoints, tiny_model: Path, tmp_path: Path
) -> None:
    values = {**endpoints.storage().model_dump(), "checkpoint_cache": tmp_path / "cache", "device": "cpu"}
    remote = WorkerSettings.load(**values, checkpoint=upload(tiny_model))
    local = WorkerSettings.load(**values, checkpoint=str(tiny_model / "best.pt"))
    assert load_engine(remote).info == load_engine(local).info
    done = run_worker_command(
        "checkpoint",
        "show",
        remote.checkpoint,
        "--json",
        environment={
            **endpoints.environment(),
            "XDG_CACHE_HOME": str(tmp_path / "xdg"),
            "SEEDMILL_CHECKPOINT_SHA256": "0" * 64,  # of another, which is not the one to show
            "SEEDMILL_TOKENIZER_SHA256": "0" * 64,
        },
    )
    assert done.returncode == 0, done.stderr
    assert load_engine(local).info.checkpoint_sha256 in done.stdout
    assert len(list((tmp_path / "xdg/seedmill").glob("*.pt"))) == 1


def test_a_path_is_held_to_its_digest_too(tiny_model: Path) -> None:
    settings = WorkerSettings.load(checkpoint=str(tiny_model / "best.pt"), device="cpu")
    right = load_engine(settings).info
    load_engine(settings.model_copy(update={"tokenizer_sha256": right.tokenizer_sha256}))
    for name in ("checkpoint", "tokenizer"):
        with pytest.raises(CheckpointError, match=f"{name if name == 'tokenizer' else 'best'}.*should have {SHA256}"):
            load_engine(settings.model_copy(update={f"{name}_sha256": SHA256}))
