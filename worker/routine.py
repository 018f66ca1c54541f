"""Something that is done every few seconds in a thread of its own, whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Routine:
    """Calls something again and again, until it is closed; an error is told once, and its end too.

    Args:
        name: of the thread and in the log.
        interval_s: seconds between two calls.
        call: what to do.
    """

    def __init__(self, name: str, interval_s: float, call: Callable[[], object]) -> None:
        self._name = name
        self._interval_s = interval_s
        self._call = call
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop; returns when the call at work has ended, or the time has passed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _loop(self) -> None:
        failing = False
        while True:
            try:
                self._call()
            except Exception as error:  # an outage, as a rule: it is tried again
                if not failing:
                    log.warning("it fails, trying on", action="routine_failed", routine=self._name, error=str(error))
                failing = True
            else:
                if failing:
                    log.info("it works again", action="routine_recovered", routine=self._name)
                failing = False
            if self._stop.wait(self._interval_s):
                return
