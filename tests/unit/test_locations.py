"""Where a file of the model is: a path, or an object."""

from __future__ import annotations

import re

import pytest

from producer.errors import SettingsError
from worker.locations import beside, read_location
from worker.settings import WorkerSettings


def test_where_a_model_is_may_be_a_path_or_an_object() -> None:
    assert beside("s3://b/a/best.pt?versionId=x.1", "tokenizer.json") == "s3://b/a/tokenizer.json"
    assert beside("s3://b/best.pt", "tokenizer.json") == "s3://b/tokenizer.json"
    assert beside("a/best.pt", "tokenizer.json") == "a/tokenizer.json"
    for text in ("s3://b/a b/best.pt", "s3://b/best.pt?versionId=x.1"):
        assert str(read_location(text)) == text
    assert WorkerSettings.load(checkpoint="s3://b/best.pt").tokenizer == "s3://b/tokenizer.json"
    assert str(read_location("S3://b/Best.pt")) == "s3://b/Best.pt"
    for text in (
        "s3:",
        "S3:/b/k",
        "s3://b",
        "s3://b/",
        "s3:/b/k",
        "s3://b/k?version=1",
        "s3://b/folder/",
        "s3://b/a\nb",
    ):
        with pytest.raises(SettingsError, match="s3://bucket/key"):
            WorkerSettings.load(checkpoint=text)
    for keys in ("hush@", "who:hush@", "hush:hu/sh@", "hush:hu sh@"):
        with pytest.raises(SettingsError, match=r"s3://bucket/key.*AWS_SECRET_ACCESS_KEY") as caught:
            WorkerSettings.load(checkpoint=f"S3://{keys}bucket/best.pt")
        assert not re.search("who|hu.?sh", str(caught.value))
        assert "bucket/best.pt" in str(caught.value)
    with pytest.raises(SettingsError, match="64 hexadecimal digits"):
        WorkerSettings.load(checkpoint_sha256="abc")
