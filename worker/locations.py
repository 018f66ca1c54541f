"""Where a file of the model is: a path of this machine, or an object, as ``s3://bucket/key?versionId=...``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

S3_URI = re.compile(r"(?i:s3)://([A-Za-z0-9._-]{1,255})/([^?\x00-\x1f]+)(?:\?versionId=([^?&\s]+))?")


@dataclass(frozen=True, slots=True)
class S3Location:
    """An object; ``version`` is "" for the newest."""

    bucket: str
    key: str
    version: str = ""

    def __str__(self) -> str:
        version = f"?versionId={self.version}" if self.version else ""
        return f"s3://{self.bucket}/{self.key}{version}"


Location: TypeAlias = Path | S3Location


def read_location(text: str) -> Location:
    """Return what a text names.

    Raises:
        ValueError: it begins as the URI of an object, and is none.
    """
    if text[:3].lower() != "s3:":
        return Path(text)
    found = S3_URI.fullmatch(text)
    if not found or found[2].endswith("/"):
        raise ValueError(
            "write s3://bucket/key, with ?versionId=... behind it for a version, or a path; keys to the store go into "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return S3Location(found[1], found[2], found[3] or "")


def beside(text: str, name: str) -> str:
    """Return where another file is that has its place beside this one: of an object, the newest version."""
    location = read_location(text)
    if isinstance(location, Path):
        return str(location.with_name(name))
    folder, slash, _ = location.key.rpartition("/")
    return str(S3Location(location.bucket, f"{folder}{slash}{name}"))
