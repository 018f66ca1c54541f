"""Files on the local disk, written so that no reader ever sees half of one."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path

from worker.errors import FileError


def prepare_folder(folder: Path) -> None:
    """Make a folder and prove that files can be written to it.

    Raises:
        FileError: naming the folder and the reason.
    """
    write_atomically(folder / ".writable", b"")
    (folder / ".writable").unlink(missing_ok=True)


def json_document(value: object) -> bytes:
    """Return a value as UTF-8 JSON for people and programs: indented, keys in order of insertion."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, making its folder: beside it first, then renamed into place.

    Raises:
        FileError: naming the path and the reason.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise FileError(f"{path} cannot be written ({error.strerror}): choose another folder") from error
