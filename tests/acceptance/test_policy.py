"""The policies in deploy/ suffice: a worker and those who sign URLs ask for nothing that they do not allow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from producer import Client, SeedStatus
from producer.contract import image_key, manifest_key
from producer.presign import Presigner
from producer.settings import PresignSettings
from tests.support import ROOT, delete_object, model_variables, run_worker_command
from tests.torture.bench import wait_until
from tests.torture.policed import Policed, Policy, policed
from worker.errors import ObjectMissing, StorageError
from worker.local.stack import Endpoints, Stack, running_stack
from worker.s3.objects import BotoObjects
from worker.settings import StorageSettings
from worker.storage import ObjectStore

WORKER = Policy(ROOT / "deploy/s3-policy.json")
READER = Policy(ROOT / "deploy/s3-policy-read.json")
SICK = 13
PART = 9 * 1024 * 1024


def place() -> tuple[str, str]:
    """Return the bucket and the prefix that the worker's policy names."""
    found = re.fullmatch(r"arn:aws:s3:::([^/]+)/(.+/)\*", WORKER.statements[0]["Resource"])
    assert found
    return found[1], found[2]


BUCKET, PREFIX = place()


def settings_at(url: str, endpoints: Endpoints, **changes: Any) -> StorageSettings:
    known = {**endpoints.storage().model_dump(), "s3_bucket": BUCKET, "s3_prefix": PREFIX, "s3_create_bucket": False}
    return StorageSettings.load(**{**known, "s3_endpoint_url": url, **changes})


def fill(endpoints: Endpoints) -> None:
    """Make the bucket, with an object outside the prefix."""
    store = ObjectStore(settings_at(endpoints.s3_url, endpoints, s3_prefix="", s3_create_bucket=True))
    store.ensure_bucket()
    store.put("secret", b"not theirs", "text/plain")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers of these tests' own."""
    with running_stack(tmp_path_factory.mktemp("own")) as stack:
        stack.start_servers()
        fill(stack.endpoints)
        yield stack


@pytest.fixture
def server(own: Stack) -> Iterator[Policed]:
    with policed(WORKER, int(own.endpoints.s3_url.rpartition(":")[2])) as running:
        yield running


def test_a_worker_does_all_that_it_does_with_the_rights_of_its_policy(
    own: Stack, server: Policed, tiny_model: Path
) -> None:
    environment = {
        **own.endpoints.environment(),
        "AWS_ENDPOINT_URL_S3": server.url,
        "SEEDMILL_S3_BUCKET": BUCKET,
        "SEEDMILL_S3_PREFIX": PREFIX,
        "SEEDMILL_S3_CREATE_BUCKET": "false",
        "SEEDMILL_S3_PATIENCE_S": "0.5",
        **model_variables(tiny_model),
    }
    store = ObjectStore(settings_at(own.endpoints.s3_url, own.endpoints))
    server.sick = f"seed_{SICK:010d}.png"
    worker = own.start_worker(environment)
    with Client(own.endpoints.redis_url) as client:
        job = client.submit(range(10)).wait(60)
        (first, *_) = job.results()
        wait_until(lambda: store.size(manifest_key(job.id)), "the manifest")
        assert all(result.cached for result in client.submit(range(10)).wait(60).results())

        delete_object(store, image_key(str(first.model_id), 0))
        again = {result.seed: result.cached for result in client.submit(range(10)).wait(60).results()}
        assert again == {0: False, **dict.fromkeys(range(1, 10), True)}
        assert server.hidden, "the store did not say that it is missing"

        (failed,) = client.submit(SICK).wait(60, check=False).results()
        assert (failed.status, store.size(f"{first.model_id}/probe")) == (SeedStatus.FAILED, 0)

    for command in (["doctor"], ["verify", "--sample", "4"]):
        done = run_worker_command(*command, "--json", environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run_worker_command("verify", "0", "77", "--json", environment=environment)
    assert [entry["finding"] for entry in json.loads(done.stdout)["seeds"]] == ["same", "not published"]
    assert worker.stop() == 0
    assert server.denied == []
    assert server.seen == {"s3:PutObject", "s3:GetObject", "s3:ListBucket"}
    asked = {action for statement in WORKER.statements for action in [statement["Action"]] if isinstance(action, str)}
    assert asked | set(WORKER.statements[0]["Action"]) == server.seen, "and the policy allows no more"
    kept = {key.rpartition("/")[2] for key in store.keys("")} - {"manifest.jsonl"}
    assert {name for name in kept if not name.startswith("seed_")} == {"probe"}, "of the worker and the doctor"


@pytest.mark.parametrize("way", ["ours", "boto3"])
def test_an_object_that_is_missing_is_told_from_one_that_is_denied(own: Stack, server: Policed, way: str) -> None:
    def open_store(prefix: str) -> ObjectStore:
        store = ObjectStore(settings_at(server.url, own.endpoints, s3_prefix=prefix))
        if way == "boto3":
            store._opened = BotoObjects(store._s3, BUCKET)
        return store

    inside, outside = open_store(PREFIX), open_store("")
    inside.put("there.json", b"{}", "application/json")
    assert (inside.get("there.json"), inside.size("there.json")) == (b"{}", 2)
    with pytest.raises(ObjectMissing, match="not-there"):
        inside.get("not-there")
    assert inside.size("there") is None, "it is not the object of which its key is the beginning"
    assert server.denied == []
    for call in (outside.get, outside.size):
        with pytest.raises(StorageError, match="refused the keys") as caught:
            call("secret")
        assert not isinstance(caught.value, ObjectMissing)
    with pytest.raises(StorageError, match="refused the keys"):
        outside.check_bucket()


def test_a_manifest_in_parts_needs_no_right_more_and_one_broken_off_fails_as_it_did(
    own: Stack, server: Policed
) -> None:
    store = ObjectStore(settings_at(server.url, own.endpoints))
    store.put_file("jobs/x/manifest.jsonl", BytesIO(b"x" * PART), "application/jsonl")
    assert store.size("jobs/x/manifest.jsonl") == PART
    assert server.denied == []

    def stop(_: int) -> None:
        raise LookupError("another has it")

    with pytest.raises(LookupError, match="another has it"):
        store.put_file("jobs/y/manifest.jsonl", BytesIO(b"x" * PART), "application/jsonl", progress=stop)
    assert {what.split(" on ")[0] for what in server.denied} == {"s3:AbortMultipartUpload"}, "it may not clean up"
    direct = ObjectStore(settings_at(own.endpoints.s3_url, own.endpoints))
    (left,) = direct._s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert left["Key"] == f"{PREFIX}jobs/y/manifest.jsonl", "for a rule of the bucket to remove"
    direct._s3.abort_multipart_upload(Bucket=BUCKET, Key=left["Key"], UploadId=left["UploadId"])


def test_who_signs_urls_needs_to_read_and_no_more(own: Stack) -> None:
    uri = f"s3://{BUCKET}/{PREFIX}shown.png"
    ObjectStore(settings_at(own.endpoints.s3_url, own.endpoints)).put("shown.png", b"a picture", "image/png")
    with policed(READER, int(own.endpoints.s3_url.rpartition(":")[2])) as server:
        endpoints = replace(own.endpoints, s3_url=server.url)
        known = endpoints.storage().model_dump(include=set(PresignSettings.model_fields))
        presigner = Presigner(PresignSettings.load(**known, s3_public_endpoint_url=server.url))
        with urlopen(presigner.url(uri)) as answer:
            assert answer.read() == b"a picture"
        assert (server.denied, server.seen) == ([], {"s3:GetObject"})
        for refused in (presigner.url(f"s3://{BUCKET}/secret"), Request(presigner.url(uri), b"x", method="PUT")):
            with pytest.raises(HTTPError, match="403") as caught:
                urlopen(refused)
            caught.value.close()
        with pytest.raises(StorageError, match="refused the keys"):
            ObjectStore(settings_at(server.url, own.endpoints)).check_bucket()
        assert len(server.denied) == 3


@pytest.mark.parametrize("name", ["s3-policy.json", "s3-policy-read.json"])
def test_both_policies_are_of_one_place(name: str) -> None:
    resources = {
        re.sub(r"/.*", "", s["Resource"]) for s in json.loads((ROOT / "deploy" / name).read_text())["Statement"]
    }
    assert resources == {f"arn:aws:s3:::{BUCKET}"}
