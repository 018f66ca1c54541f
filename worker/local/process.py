"""Child processes that are waited for until they answer, and that never outlive their parent.

Each runs in a session of its own, so that Ctrl-C in the terminal reaches the parent alone, which ends its children in
order. Knows nothing of what it runs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worker.errors import SetupError

GUARD = Path(__file__).with_name("guard.py")
LOG_TAIL_LINES = 12


class Process:
    """A child process with a log file.

    Args:
        name: what to call it in messages.
        argv: the program (an absolute path) and its arguments.
        log: file that its output is appended to.
        environment: added to this process's own environment.
    """

    def __init__(
        self, name: str, argv: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log.stat().st_size if log.exists() else 0
        guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid())]
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """Exit status, or ``None`` while it runs."""
        return self._child.poll()

    def output(self) -> str:
        """Return what it has written to its log since it was started."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Block until ``ready()`` is true.

        Raises:
            SetupError: with the end of its log, if it ends or the time runs out first.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.exit_status is not None or time.monotonic() > deadline:
                what = "is not ready" if self.exit_status is None else f"ended with status {self.exit_status}"
                tail = "\n".join(self.output().splitlines()[-LOG_TAIL_LINES:])
                raise SetupError(f"{self.name} {what}; the end of {self.log}:\n{tail}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self.exit_status is None:
            self._child.send_signal(number)

    def stop(self, *, grace_s: float = 10.0) -> int:
        """End it with SIGTERM, or with SIGKILL after ``grace_s`` seconds; returns its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()


def free_port(preferred: int = 0) -> int:
    """Return a TCP port of 127.0.0.1 that is free now: the preferred one if it is, else any."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SetupError("no TCP port of 127.0.0.1 is free")


def answers(port: int) -> bool:
    """Return whether something accepts connections on that port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True
