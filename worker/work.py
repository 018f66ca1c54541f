"""Seeds on their way through the stages: each is work once, whoever wants it, and ends once, with an outcome.

Who wants a seed that is on its way joins it; what nobody wants any more is left. Knows neither the stages nor the
queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import structlog

from producer.contract import SeedStatus
from producer.message import SeedResult
from worker.errors import GivenBack
from worker.failures import Fate, fate_of

log = structlog.get_logger(__name__)

Value = TypeVar("Value")

Outcome = SeedResult | GivenBack | None
"""What became of a seed: a result; or the reason why it has to be tried again; or ``None``, if nobody wants it now."""


def milliseconds(since: float) -> float:
    """Return the milliseconds since ``time.perf_counter()`` gave ``since``."""
    return round((time.perf_counter() - since) * 1000, 3)


class Joined(NamedTuple):
    """Work that an order has in hand: all of it, what is new, and what is to be put in line again, further ahead."""

    work: list[Work]
    new: list[Work]
    hastened: list[Work]


class Work:
    """A seed on its way; ``timings`` gathers milliseconds by stage. Safe to use from many threads.

    Args:
        seed: which.
        job: who wanted it first, for the log.
        urgency: the lower, the sooner.
    """

    def __init__(self, seed: int, *, job: str = "", urgency: int = 0) -> None:
        self.seed = seed
        self.job = job
        self.urgency = urgency
        self.latent: Any = None
        self.generated: Any = None
        self.entered = time.perf_counter()
        self.timings: dict[str, float] = {}
        self.batch = ""
        """The batch that it is generated in, for logs and traces."""
        self.chunks: tuple[Any, ...] = ()
        """Traces of the chunks that want it, the first one first; none of these three while nothing is traced."""
        self.batch_trace: Any = None
        self.traced: Callable[[str], AbstractContextManager[Any]] | None = None
        """Makes a span of a stage."""
        self._lock = threading.Lock()
        self._waiting: list[Future[Outcome]] = []
        self._begun = False
        self._ended = False
        self._outcome: Outcome = None
        self._holders = 0

    @property
    def wanted(self) -> bool:
        """Whether an outcome is still waited for."""
        with self._lock:
            return self._is_wanted()

    @property
    def outcome(self) -> Outcome:
        """How it has ended."""
        return self._outcome

    def join(self, future: Future[Outcome]) -> bool:
        """Take it in hand and let ``future`` get the outcome too.

        Returns False if it has ended, unless that was a success and somebody has it in hand still.
        """
        with self._lock:
            if not self._ended:
                self._waiting.append(future)
            elif not self._holders or not _is_success(self._outcome):
                return False
            self._holders += 1
            ended, outcome = self._ended, self._outcome
        if ended:
            settle(future, outcome)
        return True

    def release(self) -> None:
        """Let it out of one hand."""
        with self._lock:
            self._holders -= 1

    def begin(self) -> bool:
        """Return whether the device is to do it now: somebody wants it, and it has not been begun before."""
        if self.leave():
            return False
        with self._lock:
            begun, self._begun = self._begun, True
            return not begun

    def hasten(self, urgency: int) -> bool:
        """Make it more urgent; returns whether it is to be put in line again for that."""
        with self._lock:
            hastened = urgency < self.urgency and not (self._begun or self._ended)
            self.urgency = min(urgency, self.urgency)
            return hastened

    def leave(self) -> bool:
        """End it if nobody wants it any more; returns whether it has ended."""
        with self._lock:
            if self._ended or self._is_wanted():
                return self._ended
            self._ended = True
            return True

    def end(self, outcome: Outcome) -> None:
        """End with this outcome, unless it has ended."""
        with self._lock:
            if self._ended:
                return
            self._ended, self._outcome = True, outcome
        for future in self._waiting:
            settle(future, outcome)

    def fail(self, error: BaseException) -> None:
        """End with what becomes of an error: the seed fails, or is to be tried again."""
        try:
            fate = fate_of(error)
            ids = {"job_id": self.job, "seed": self.seed, "batch_id": self.batch}
            log.error("seed failed", action="seed_failed", **ids, fate=str(fate), error=str(error))
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
            if self.traced is None:
                return call()
            with self.traced(stage):
                return call()
        finally:
            self.timings[f"{stage}_ms"] = milliseconds(started)

    def _is_wanted(self) -> bool:
        return any(not future.done() for future in self._waiting)


class InFlight:
    """The work that somebody has in hand, by seed: who wants a seed that is on its way joins it.

    Orders keep work in hand until their chunk is about to be recorded, and so is in the index. From then on it is not
    joined, since the bucket may lose it, and since whoever saw the end of the chunk may want it computed again; who had
    asked the index just before that does it again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: WeakValueDictionary[int, Work] = WeakValueDictionary()

    def join(
        self, seeds: Sequence[int], futures: Sequence[Future[Outcome]], urgency: int, job: str = "", trace: Any = None
    ) -> Joined:
        """Give each future the outcome of its seed, from work that is there or is new; ``trace`` is the chunk's."""
        joined = Joined([], [], [])
        try:
            with self._lock:
                for seed, future in zip(seeds, futures, strict=True):
                    work = self._join(seed, future, Work(seed, job=job, urgency=urgency), joined)
                    if trace is not None and trace not in work.chunks:
                        work.chunks += (trace,)
        except BaseException as error:  # what is new will never come into line
            for work in joined.new:
                work.end(GivenBack(type(error).__name__, counts=True))
            raise
        return joined

    def _join(self, seed: int, future: Future[Outcome], new: Work, joined: Joined) -> Work:
        work = self._work.get(seed)
        if work is not None and work.join(future):
            if work.hasten(new.urgency):
                joined.hastened.append(work)
        else:
            work = new
            work.join(future)
            joined.new.append(work)
            self._work[seed] = work
        joined.work.append(work)
        return work


def _is_success(outcome: Outcome) -> bool:
    return isinstance(outcome, SeedResult) and outcome.status is SeedStatus.SUCCEEDED


def settle(future: Future[Outcome], outcome: Outcome) -> None:
    """Give ``future`` its outcome, unless it has one."""
    with suppress(InvalidStateError):
        future.set_result(outcome)
