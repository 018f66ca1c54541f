"""Seeds on their way through the pipeline, together as an order: each ends once, with an outcome.

Knows neither the stages nor the queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from producer.contract import SeedResult
from worker.errors import GivenBack
from worker.failures import Fate, fate_of

log = structlog.get_logger(__name__)

Value = TypeVar("Value")

Outcome = SeedResult | GivenBack | None
"""What became of a seed: a result; or the reason why it has to be tried again; or ``None``, if nobody wants it now."""


def milliseconds(since: float) -> float:
    """Return the milliseconds since ``time.perf_counter()`` gave ``since``."""
    return round((time.perf_counter() - since) * 1000, 3)


@dataclass(slots=True)
class Work:
    """A seed on its way; ``timings`` gathers milliseconds by stage, ``done`` gets the outcome, once."""

    seed: int
    entered: float = field(default_factory=time.perf_counter)
    timings: dict[str, float] = field(default_factory=dict)
    done: Future[Outcome] = field(default_factory=Future)

    @property
    def wanted(self) -> bool:
        """Whether an outcome is still waited for."""
        return not self.done.done()

    def end(self, outcome: Outcome) -> None:
        """End with this outcome, unless it has ended."""
        with suppress(InvalidStateError):
            self.done.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """End with what becomes of an error: the seed fails, or is to be tried again."""
        try:
            fate = fate_of(error)
            log.error("seed failed", action="seed_failed", seed=self.seed, fate=str(fate), error=str(error))
            if fate is Fate.FAILED and isinstance(error, Exception):
                self.end(SeedResult.failure(self.seed, error, timings=self.timings))
            elif isinstance(error, GivenBack):
                self.end(error)
            else:
                again = GivenBack(f"{type(error).__name__}: {error}", counts=fate is not Fate.AGAIN)
                again.__cause__ = error
                self.end(again)
        finally:  # an error that cannot even be told
            self.end(GivenBack(type(error).__name__, counts=True))

    def timed(self, stage: str, call: Callable[[], Value]) -> Value:
        """Return what ``call`` returns, noting how long it took."""
        started = time.perf_counter()
        try:
            return call()
        finally:
            self.timings[f"{stage}_ms"] = milliseconds(started)


class Order:
    """Seeds that belong together and can be let go of together; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: list[Work] = []
        self._ended: Outcome = None
        self._is_open = True

    @property
    def wanted(self) -> bool:
        """Whether the order has not been let go of."""
        return self._is_open

    def add(self, seeds: Sequence[int]) -> list[Work]:
        """Return work for these seeds; it has ended already if the order has been let go of."""
        work = [Work(seed) for seed in seeds]
        with self._lock:
            self._work += work
            ended, is_open = self._ended, self._is_open
        if not is_open:
            for item in work:
                item.end(ended)
        return work

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
            work = list(self._work)
        for item in work:
            item.end(outcome)
