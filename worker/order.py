"""What one chunk wants of the pipeline: seeds that are let go of together.

Knows neither the stages nor the queue.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from worker.errors import GivenBack
from worker.work import Outcome, Work, settle


class Order:
    """Seeds that are wanted together and can be let go of together; safe to use from many threads.

    Args:
        job: whose they are; jobs of equal urgency take turns.
        urgency: the lower, the sooner.
    """

    def __init__(self, job: str = "", *, urgency: int = 0) -> None:
        self.job = job
        self.urgency = urgency
        self.tenant = ""
        """Whose job it is, "" for nobody's: tenants take turns, and the jobs of one among themselves."""
        self.trace: Any = None
        """The trace of its chunk; ``None`` while nothing is traced."""
        self._lock = threading.Lock()
        self._futures: list[Future[Outcome]] = []
        self._work: list[Work] = []
        self._ended: Outcome = None
        self._is_open = True

    @property
    def wanted(self) -> bool:
        """Whether the order has not been let go of."""
        return self._is_open

    def want(self, number: int) -> list[Future[Outcome]]:
        """Return as many outcomes to come; they are there already if the order has been let go of."""
        futures: list[Future[Outcome]] = [Future() for _ in range(number)]
        with self._lock:
            self._futures += futures
            ended, is_open = self._ended, self._is_open
        if not is_open:
            for future in futures:
                settle(future, ended)
        return futures

    def hold(self, work: Sequence[Work]) -> None:
        """Note work that has been taken in hand for this order."""
        self._work += work

    def close(self) -> None:
        """Let all work out of hand: its outcome is about to be recorded, or will not be."""
        for work in self._work:
            work.release()
        self._work.clear()

    def cancel(self) -> None:
        """Let go: seeds without an outcome are wanted no more."""
        self._let_go(None)

    def give_back(self, reason: GivenBack) -> None:
        """Let go: seeds without an outcome are to be tried again, by another worker."""
        self._let_go(reason)

    def _let_go(self, outcome: Outcome) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._is_open, self._ended = False, outcome
            futures = list(self._futures)
        for future in futures:
            settle(future, outcome)
