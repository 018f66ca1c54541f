"""Which SHA-256 a file of the model in an object store must have: what the settings and the store say has to agree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from worker.errors import CheckpointError, ObjectMissing, StorageDenied
from worker.locations import S3Location
from worker.storage import ObjectStore

LINE = re.compile(r"\\?([0-9a-f]{64})(?:\s+\*?(.*))?", re.IGNORECASE)
"""A line of what ``sha256sum`` writes: a digest, and the file's name."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of the model: where it is, and what is known of it before the store is asked.

    Args:
        variable: the setting that names it.
        sha256: what the settings say it must be, "" for what the store says.
        pinned: it is, or belongs to, a version of an object: what ``<key>.sha256`` says of the newest is not of it.
    """

    location: S3Location
    variable: str
    sha256: str = ""
    pinned: bool = False

    @property
    def beside(self) -> S3Location:
        """The object that has its digest."""
        return S3Location(self.location.bucket, f"{self.location.key}.sha256")


def agreed_digest(store: ObjectStore, wanted: Wanted) -> tuple[str, int]:
    """Return the SHA-256 that a file must have, and how many bytes the store says that it has.

    Raises:
        CheckpointError: nobody says a digest, or two say another.
        StorageError: the object is not there, or the store is not.
    """
    denied, beside = False, ""
    if not wanted.pinned:
        try:
            beside = digest_in(store.get(wanted.beside.key), wanted)
        except ObjectMissing:
            pass
        except StorageDenied:
            denied = True
    stored = store.describe(wanted.location.key, wanted.location.version)
    said = {
        f"{wanted.variable}_SHA256": wanted.sha256,
        str(wanted.beside): beside,
        "the store's own checksum": stored.sha256,
    }
    said = {who: digest for who, digest in said.items() if digest}
    if not said:
        raise CheckpointError(_nobody(wanted, denied=denied))
    if len(set(said.values())) > 1:
        told = ", ".join(f"{digest} by {who}" for who, digest in said.items())
        raise CheckpointError(f"{wanted.location}: its SHA-256 is {told}: correct the one that is wrong")
    return next(iter(said.values())), stored.size


def digest_in(data: bytes, wanted: Wanted) -> str:
    """Return the digest that the text of ``<key>.sha256`` has for the file."""
    lines = [LINE.fullmatch(line.strip()) for line in data.decode("utf-8-sig", "replace").splitlines()]
    found = [(line[1].lower(), PurePosixPath(line[2] or "").name) for line in lines if line]
    if not found:
        raise CheckpointError(f"{wanted.beside} is no SHA-256: write there what sha256sum prints")
    name = PurePosixPath(wanted.location.key).name
    alone = len(found) == 1
    digests = {digest for digest, of in found if of == name or (alone and not of)}
    if len(digests) != 1:
        others = ", ".join(repr(of) for _, of in found)
        raise CheckpointError(
            f"{wanted.beside} has not one digest for {name!r}, it names {others}: write there what sha256sum prints"
        )
    return digests.pop()


def _nobody(wanted: Wanted, *, denied: bool) -> str:
    """Return what is told of a file of which nobody says the digest."""
    text = f"{wanted.location}: nobody says which SHA-256 it must have, so it is not used: "
    if denied:
        text += (
            f"the store denies {wanted.beside} to these keys (as it does with what is missing, to keys that may not "
            "list the bucket), and keeps no SHA-256 of its own: "
        )
    if wanted.pinned:
        return text + (
            f"set {wanted.variable}_SHA256, or upload it with --checksum-algorithm SHA256 "
            f"({wanted.beside} does not count with a version, since it is that of the newest)"
        )
    return text + (
        f"set {wanted.variable}_SHA256, put what sha256sum prints into {wanted.beside}, or upload it with "
        "--checksum-algorithm SHA256"
    )
