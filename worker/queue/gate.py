"""Who may work beside whom: chunks side by side, a suspect alone, so that nothing else suffers if it ends the worker.

Knows nothing of chunks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.errors import GivenBack


class Gate:
    """A lock that many hold together or one holds alone; those who wait to be alone come first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._alone = False
        self._waiting = 0
        self._open = True

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hold it beside others.

        Raises:
            GivenBack: the gate was closed while waiting.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._open or not (self._alone or self._waiting))
            self._check()
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it alone; raises as :meth:`together` does."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._open or not (self._alone or self._together))
                self._check()
                self._alone = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more; those who wait are sent back."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _check(self) -> None:
        if not self._open:
            raise GivenBack("the worker is stopping")
