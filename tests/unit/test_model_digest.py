"""Which SHA-256 counts of those that the settings and the store say."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from worker import model_cache
from worker.errors import CheckpointError, ObjectMissing
from worker.locations import S3Location
from worker.model_cache import ModelCache
from worker.model_digest import Wanted, agreed_digest, digest_in
from worker.settings import WorkerSettings
from worker.storage import ObjectStore, Stored

A, B = "a" * 64, "b" * 64
BEST = Wanted(S3Location("models", "v1/best.pt"), "SEEDMILL_CHECKPOINT")


class Says:
    """A store that says these digests of an object; "" for none."""

    def __init__(self, *, beside: str = "", checksum: str = "") -> None:
        self.beside, self.checksum = beside, checksum

    def get(self, key: str) -> bytes:
        if not self.beside:
            raise ObjectMissing(key)
        return self.beside.encode()

    def describe(self, _key: str, _version: str) -> Stored:
        return Stored(7, self.checksum)

    def agreed(self, sha256: str, *, version: str = "") -> tuple[str, int]:
        location = S3Location("models", "v1/best.pt", version)
        return agreed_digest(cast("ObjectStore", self), Wanted(location, BEST.variable, sha256, bool(version)))


@pytest.mark.parametrize(
    "text",
    [
        f"{A}\n",
        f"{A.upper()} *best.pt\r\n",
        f"\ufeff{A}  v1/best.pt",
        f"{B}  a.pt\n{A}  best.pt\n",
        f"{A}  best.pt\n\n{B}  not best.pt\n",
    ],
)
def test_the_line_with_the_name_of_the_file_counts(text: str) -> None:
    assert digest_in(text.encode(), BEST) == A


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no SHA-256"),
        ("abc  best.pt", "is no SHA-256"),
        (f"{A}  a.pt", "not one digest for 'best.pt', it names 'a.pt'"),
        (f"{A}  a.pt\n{B}  b.pt", "it names 'a.pt', 'b.pt'"),
        (f"{A}\n{B}", "not one digest"),
        (f"{A}  best.pt\n{B}  best.pt", "not one digest"),
    ],
)
def test_a_text_without_one_digest_for_the_file_is_refused(text: str, told: str) -> None:
    with pytest.raises(CheckpointError, match=f"s3://models/v1/best.pt.sha256 .*{told}"):
        digest_in(text.encode(), BEST)


def test_all_who_say_a_digest_have_to_say_the_same() -> None:
    for says, sha256 in ((Says(), A), (Says(beside=A), ""), (Says(checksum=A), ""), (Says(beside=A, checksum=A), A)):
        assert says.agreed(sha256) == (A, 7)
    for says, sha256 in ((Says(beside=B), A), (Says(checksum=B), A), (Says(beside=B, checksum=A), "")):
        with pytest.raises(CheckpointError, match="correct the one that is wrong"):
            says.agreed(sha256)


def test_what_stands_beside_the_newest_says_nothing_of_a_version() -> None:
    assert Says(beside=B, checksum=A).agreed("", version="1") == (A, 7)
    assert Says(beside=B).agreed(A, version="1") == (A, 7)
    with pytest.raises(CheckpointError, match=r"versionId=1: nobody says.*SEEDMILL_CHECKPOINT_SHA256.*newest"):
        Says(beside=B).agreed("", version="1")


@pytest.mark.parametrize(
    ("checkpoint", "tokenizer", "pinned"),
    [
        ("s3://m/best.pt", None, [False, False]),
        ("s3://m/best.pt?versionId=1", None, [True, True]),
        ("s3://m/best.pt?versionId=1", "s3://m/words.json", [True, False]),
        ("s3://m/best.pt", "s3://m/words.json?versionId=2", [False, True]),
    ],
)
def test_a_tokenizer_beside_a_version_is_held_as_that_is(
    checkpoint: str, tokenizer: str | None, pinned: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Wanted] = []

    def fetch(_cache: ModelCache, wanted: Wanted) -> Path:
        asked.append(wanted)
        return tmp_path

    monkeypatch.setattr(ModelCache, "fetch", fetch)
    model_cache.model_files(WorkerSettings.load(checkpoint=checkpoint, tokenizer=tokenizer, checkpoint_cache=tmp_path))
    assert [wanted.pinned for wanted in asked] == pinned
