"""A file that is written every second while the worker works: who looks after processes can tell without Redis.

It says whether the worker starts, serves or stops; its age says whether that is still so. The loop that takes messages
has to have turned lately, also while it waits for a Redis that is away; where it hangs, the file grows old. That the
device hangs the watchdog sees (worker/duties.py).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from worker.errors import SetupError
from worker.files import write_atomically

HUNG_S = 60.0
"""Seconds without a turn of the loop after which it counts as hung."""


class State(StrEnum):
    """What a worker is at."""

    STARTING = "starting"
    """It looks at its surroundings and loads the model."""
    SERVING = "serving"
    """It takes messages."""
    STOPPING = "stopping"
    """It takes no more, and finishes what it has taken."""


class Heartbeat:
    """Writes the file; :attr:`state` and :meth:`turned` are the worker's to keep true.

    Args:
        path: where; ``None`` for nowhere.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = ""
        self.state = State.STARTING
        self._turned = time.monotonic()

    def turned(self) -> None:
        """Note that the loop that takes messages has turned."""
        self._turned = time.monotonic()

    def beat(self) -> None:
        """Write the file, unless the loop hangs, which is asked while it serves alone; what stands there is kept.

        Raises:
            FileError: it cannot be written.
        """
        hangs = self.state is State.SERVING and time.monotonic() - self._turned > HUNG_S
        if self._path is None or hangs:
            return
        text = f"{self.state} {os.getpid()}\n"
        if text == self._written:
            with suppress(OSError):  # no space is needed for that
                os.utime(self._path)
                return
        write_atomically(self._path, text.encode())
        self._written = text

    def begin(self, state: State) -> None:
        """Enter a state, and say so at once."""
        self.turned()
        self.state = state
        self.beat()

    def end(self) -> None:
        """Remove the file: the worker ends."""
        if self._path:
            with suppress(OSError):
                self._path.unlink()


@dataclass(frozen=True, slots=True)
class Health:
    """What the file says: the state of the worker, its process, and seconds since it was written."""

    state: State
    pid: int
    age_s: float


def read_health(path: Path) -> Health:
    """Read the file.

    Raises:
        SetupError: there is none, or it is something else.
    """
    try:
        state, pid = path.read_text(encoding="utf-8").split()
        return Health(State(state), int(pid), max(0.0, time.time() - path.stat().st_mtime))
    except FileNotFoundError as error:
        raise SetupError(f"{path} is not there: no worker is running with this SEEDMILL_HEARTBEAT_FILE") from error
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} is no heartbeat file ({error}): correct SEEDMILL_HEARTBEAT_FILE") from error
