"""Files of the model that are in an object store: fetched once, checked, and kept on this disk under their SHA-256.

The digest is known before anything is fetched: from the settings, from an object ``<key>.sha256`` beside the file, or
from the store's own checksum. So a part that a broken download has left can be gone on with by anybody, and a file in
the cache that is damaged is noticed. One process fetches while others wait. Knows nothing of what is in the files.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import structlog

from worker.errors import CheckpointError, ObjectMissing, StorageError, StorageUnreachable
from worker.locations import S3Location, read_location
from worker.settings import StorageSettings, WorkerSettings
from worker.storage import ObjectStore, Stored

log = structlog.get_logger(__name__)

DIGEST = re.compile(rb"\s*\\?([0-9a-fA-F]{64})(\s.*)?", re.DOTALL)
"""What ``sha256sum`` writes begins so."""

TRIES = 5
"""Times in a row that a download brings nothing more before it is given up."""

ANOTHER = "name another folder (SEEDMILL_CHECKPOINT_CACHE)"

PAUSE_S = 0.5
"""Pause before it is tried again, each time doubled."""


class ModelCache:
    """A folder of files by digest; safe to use from many processes.

    Args:
        folder: made when it is needed.
        settings: server and keys; the bucket is that of each file.
    """

    def __init__(self, folder: Path, settings: StorageSettings) -> None:
        self.folder = folder
        self._settings = settings

    def fetch(self, location: S3Location, sha256: str, variable: str) -> Path:
        """Return the file on this disk; ``sha256`` is what it must be, "" for what the store says of it.

        Raises:
            CheckpointError: no digest of it is known (``variable`` can name one), it has another, or the disk is full.
        """
        try:
            store = ObjectStore(self._settings.model_copy(update={"s3_bucket": location.bucket, "s3_prefix": ""}))
            wanted = sha256 or _digest(store, location, variable)
            path = self.folder / (wanted + PurePosixPath(location.key).suffix.lower())
            with self._locked(path):
                if not _is_whole(path, wanted):
                    self._download(store, location, path, wanted)
        except StorageError as error:
            raise CheckpointError(f"{location}: {error}") from error
        except OSError as error:
            raise CheckpointError(f"{location} cannot be kept: {_reason(error, self.folder)}") from error
        return path

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Keep other processes out inside, and wait for one that is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another process fetches it, waiting", action="model_waiting", path=str(path))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _download(self, store: ObjectStore, location: S3Location, path: Path, wanted: str) -> None:
        """Fetch the object, going on with what is there of it; from the beginning if that turns out to be wrong."""
        part = path.with_name(f".{path.name}.part")
        stored = store.describe(location.key, location.version)
        started = time.monotonic()
        resumed = part.stat().st_size if part.exists() else 0
        if resumed > stored.size:
            part.unlink()
            resumed = 0
        found = self._complete(store, location, stored, part)
        if found != wanted and resumed:
            log.warning("what was there of it was damaged, from the beginning", action="model_damaged", path=str(part))
            part.unlink()
            resumed, found = 0, self._complete(store, location, stored, part)
        if found != wanted:
            part.unlink()
            raise CheckpointError(
                f"{location} has SHA-256 {found}, and should have {wanted}: it is another file, or damaged; "
                "upload it again, or correct the digest"
            )
        part.replace(path)
        _sync(self.folder)
        spent = round(time.monotonic() - started, 1)
        fetched = {"bytes": stored.size, "resumed_at": resumed, "seconds": spent}
        log.info("a file of the model is here", action="model_fetched", source=str(location), path=str(path), **fetched)

    def _complete(self, store: ObjectStore, location: S3Location, stored: Stored, part: Path) -> str:
        """Fetch what is missing of an object; returns the SHA-256 of the whole."""
        with part.open("a+b") as file:
            needed, free = stored.size - file.tell(), shutil.disk_usage(self.folder).free
            if needed > free:
                raise OSError(errno.ENOSPC, f"it takes {needed} bytes more, and {free} are free")
            _append(store, location, stored, file)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()


def _append(store: ObjectStore, location: S3Location, stored: Stored, file: IO[bytes]) -> None:
    """Fetch until the file is as long as the object, over connections that break."""
    in_vain = 0
    while (place := file.tell()) < stored.size:
        try:
            store.append(location.key, file, location.version)
            broken = StorageUnreachable(f"it ended after {file.tell()} of {stored.size} bytes")
        except StorageUnreachable as error:
            broken = error
        if file.tell() >= stored.size:
            return
        in_vain = in_vain + 1 if file.tell() <= place else 0
        if in_vain >= TRIES:
            raise broken
        log.warning("the download broke off, going on", action="model_download_broken", error=str(broken))
        time.sleep(PAUSE_S * 2**in_vain)


def _digest(store: ObjectStore, location: S3Location, variable: str) -> str:
    """Return the SHA-256 that the store says the object has."""
    beside = S3Location(location.bucket, f"{location.key}.sha256")
    try:
        if found := DIGEST.fullmatch(store.get(beside.key)):
            return found[1].decode().lower()
        raise CheckpointError(f"{beside} is no SHA-256: write there what sha256sum prints")
    except ObjectMissing:
        pass
    if sha256 := store.describe(location.key, location.version).sha256:
        return sha256
    raise CheckpointError(
        f"{location}: nobody says which SHA-256 it must have, so it is not used: set {variable}, put what sha256sum "
        f"prints into {beside}, or upload it with --checksum-algorithm SHA256"
    )


def _is_whole(path: Path, wanted: str) -> bool:
    """Whether the file is there and is what it must be; one that is not is removed."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    if found == wanted:
        return True
    log.warning("a file of the cache was damaged, it is fetched again", action="model_damaged", path=str(path))
    path.unlink()
    return False


def _reason(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full ({error.strerror}): make room, or {ANOTHER}"
    return f"{error.filename or folder}: {error.strerror or error}: {ANOTHER}"


def _sync(folder: Path) -> None:
    """Have the disk keep a rename in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def model_files(settings: WorkerSettings) -> tuple[Path, Path]:
    """Return checkpoint and tokenizer on this disk; those that are objects are fetched unless they are there.

    Raises:
        CheckpointError: see :meth:`ModelCache.fetch`; what is wrong with a path is told by who reads it.
    """

    def local(text: str, sha256: str, variable: str) -> Path:
        location = read_location(text)
        if isinstance(location, Path):
            return location
        return ModelCache(settings.checkpoint_cache or _usual_folder(), settings).fetch(location, sha256, variable)

    return (
        local(settings.checkpoint, settings.checkpoint_sha256, "SEEDMILL_CHECKPOINT_SHA256"),
        local(settings.tokenizer, settings.tokenizer_sha256, "SEEDMILL_TOKENIZER_SHA256"),
    )


def _usual_folder() -> Path:
    """Return the folder of the user's caches that is ours."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedmill"
    except RuntimeError as error:
        raise CheckpointError(f"there is no folder for caches here ({error}): set SEEDMILL_CHECKPOINT_CACHE") from error


def check_digest(location: str, found: str, wanted: str) -> None:
    """Raise :class:`CheckpointError` if a file that was loaded is not the one that the settings say ("" for any)."""
    if wanted and found != wanted:
        raise CheckpointError(
            f"{location} has SHA-256 {found}, and should have {wanted}: it is another file, or damaged"
        )
