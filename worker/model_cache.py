"""Files of the model that are in an object store: fetched once, checked, and kept on this disk under their SHA-256.

The digest is known before anything is fetched: from the settings, from an object ``<key>.sha256`` beside the file, or
from the store's own checksum. So a part that a broken download has left can be gone on with by anybody, and a file in
the cache that is damaged is noticed. A note beside a file has the locations that it was fetched from or confirmed for:
a digest in the settings does not make another location right. One process fetches while others wait. Knows nothing of
what is in the files.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

import structlog

from producer.redaction import hide_credentials
from worker.errors import BucketMissing, CheckpointError, ObjectMissing, StorageError, StorageUnreachable
from worker.locations import Location, S3Location, beside, read_location
from worker.model_digest import Wanted, agreed_digest
from worker.settings import StorageSettings, WorkerSettings
from worker.storage import ObjectStore, Stored

log = structlog.get_logger(__name__)

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

    def fetch(self, wanted: Wanted) -> Path:
        """Return the file on this disk.

        A location that this file was confirmed for is not asked again where the settings name the digest.

        Raises:
            CheckpointError: no digest of it is known, it has another, or the disk is full.
        """
        location = wanted.location
        try:
            store = ObjectStore(self._settings.model_copy(update={"s3_bucket": location.bucket, "s3_prefix": ""}))
            if wanted.sha256 and self._is_confirmed(self._path(location, wanted.sha256), location):
                path = self._path(location, wanted.sha256)
                self._complete(store, location, path, wanted.sha256)
                return path
            sha256, size = agreed_digest(store, wanted)
            path = self._path(location, sha256)
            self._complete(store, location, path, sha256)
            if (there := path.stat().st_size) != size:
                raise CheckpointError(
                    f"{location} has {size} bytes, and the file with SHA-256 {sha256} has {there}: it is another "
                    "file; upload it again, or correct the digest"
                )
            self._confirm(path, location)
        except (BucketMissing, ObjectMissing) as error:
            missing = f"{store.where} does not exist" if isinstance(error, BucketMissing) else error
            raise CheckpointError(f"{location}: {missing}: correct {wanted.variable}, or put it there") from error
        except StorageError as error:
            raise CheckpointError(f"{location}: {error}") from error
        except OSError as error:
            raise CheckpointError(f"{location} cannot be kept: {_reason(error, self.folder)}") from error
        return path

    def _path(self, location: S3Location, sha256: str) -> Path:
        return self.folder / (sha256 + PurePosixPath(location.key).suffix.lower())

    def _place(self, location: S3Location) -> str:
        """Return what notes call a location: the same bucket on another server is another place."""
        return f"{hide_credentials(self._settings.s3_endpoint_url or 'AWS S3')} {location}"

    def _is_confirmed(self, path: Path, location: S3Location) -> bool:
        """Whether a file of the cache was fetched from a location, or the store said that it is there."""
        try:
            return self._place(location) in _note(path).read_text(encoding="utf-8").splitlines()
        except OSError:
            return False

    def _confirm(self, path: Path, location: S3Location) -> None:
        """Note that a file is at a location; a cache that cannot be written has the store asked each time."""
        if self._is_confirmed(path, location):
            return
        with suppress(OSError), _note(path).open("a", encoding="utf-8") as note:
            note.write(f"{self._place(location)}\n")

    def _complete(self, store: ObjectStore, location: S3Location, path: Path, sha256: str) -> None:
        """Have the file here; many may look at what is there at once, and one fetches."""
        while True:
            seen = _state(path)
            if _is_whole(path, sha256):
                return
            with self._locked(path):
                if _state(path) != seen:  # another has fetched it since
                    continue
                if seen:
                    log.warning("a file of the cache was damaged", action="model_damaged", path=str(path))
                    path.unlink()
                self._download(store, location, path, sha256)
                return

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Keep other processes that would fetch out inside, and wait for one that is there."""
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
        found = self._append_to(part, store, location, stored)
        if found != wanted and resumed:
            log.warning("what was there of it was damaged, from the beginning", action="model_damaged", path=str(part))
            part.unlink()
            resumed, found = 0, self._append_to(part, store, location, stored)
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

    def _append_to(self, part: Path, store: ObjectStore, location: S3Location, stored: Stored) -> str:
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


def _note(path: Path) -> Path:
    """Return the file that has the locations of a file of the cache, one a line."""
    return path.with_name(f".{path.name}.from")


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what differs once a file was replaced; ``None`` where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_whole(path: Path, sha256: str) -> bool:
    """Whether the file is there and is what it must be."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
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
    checkpoint, tokenizer = read_location(settings.checkpoint), read_location(settings.tokenizer)
    pinned = isinstance(checkpoint, S3Location) and bool(checkpoint.version)
    follows = pinned and settings.tokenizer == beside(settings.checkpoint, "tokenizer.json")

    def local(location: Location, variable: str, sha256: str, *, pinned: bool) -> Path:
        if isinstance(location, Path):
            return location
        wanted = Wanted(location, variable, sha256, pinned or bool(location.version))
        return ModelCache(settings.checkpoint_cache or _usual_folder(), settings).fetch(wanted)

    return (
        local(checkpoint, "SEEDMILL_CHECKPOINT", settings.checkpoint_sha256, pinned=pinned),
        local(tokenizer, "SEEDMILL_TOKENIZER", settings.tokenizer_sha256, pinned=follows),
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
