"""One chunk from its beginning to its recorded end: what has been published is skipped, suspects are run alone.

A suspect is a chunk whose earlier attempt ended without a word: the worker that ran it died. It may have been the
cause, so it is run with nothing beside it, seed by seed, and each seed is noted before it is begun; one that workers
died at twice in a row fails alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import structlog

from producer.attempts import Start, Verdict
from producer.contract import MAX_ATTEMPTS, SeedStatus
from producer.errors import QueueError
from producer.message import SeedResult
from worker.errors import GivenBack, InvalidMessage, OtherModel, SeedKillsWorker
from worker.monitoring import metrics
from worker.monitoring.report import Report, note
from worker.monitoring.tracing import OFF, Traces
from worker.order import Order
from worker.queue.gate import Gate
from worker.results import Delivery, Recorder
from worker.running import Running
from worker.work import Outcome

log = structlog.get_logger(__name__)

MAX_TRIES_ALONE = MAX_ATTEMPTS - 1
"""Times in a row that workers die at a seed that is run alone, before it fails."""


class Mill(Protocol):
    """What is needed of the pipeline; :class:`worker.pipeline.Pipeline` is one."""

    def process(self, seeds: Sequence[int], order: Order) -> list[Outcome]:
        """Generate and publish seeds; one outcome each, in order."""
        ...

    def find(self, seeds: Sequence[int], order: Order, *, whole: bool) -> list[Outcome]:
        """Look for seeds among what is published; one outcome each, ``None`` for those that are not."""
        ...


class ChunkRunner:
    """Runs chunks, from many threads at a time."""

    def __init__(self, mill: Mill, recorder: Recorder, gate: Gate, running: Running, traces: Traces = OFF) -> None:
        self._mill = mill
        self._recorder = recorder
        self._gate = gate
        self._running = running
        self._traces = traces

    def run(self, delivery: Delivery) -> dict[str, Any] | None:
        """Run a chunk unless its job says otherwise; returns the recorded value, or ``None``.

        Raises:
            InvalidMessage: the job has no such chunk.
            GivenBack: it has to be tried again, here or elsewhere.
            QueueError: Redis is away and the worker is leaving, or Redis refused.
        """
        if delivery.unwanted and self._is_dropped(delivery, delivery.unwanted):
            return None
        with self._gate.together():
            start = self._recorder.start(delivery, alone=False)
            if start.verdict is not Verdict.SUSPECT:
                return self._follow(delivery, start, alone=False)
        with self._gate.alone():
            return self._follow(delivery, self._recorder.start(delivery, alone=True), alone=True)

    def _follow(self, delivery: Delivery, start: Start, *, alone: bool) -> dict[str, Any] | None:
        with self._traces.chunk(delivery, start) as trace:
            value = self._carry_out(delivery, start, trace, alone=alone)
            if value is not None:
                self._traces.recorded(trace, value)
            return value

    def _carry_out(self, delivery: Delivery, start: Start, trace: Any, *, alone: bool) -> dict[str, Any] | None:
        if start.verdict is Verdict.UNKNOWN:
            message = delivery.message
            part = f"chunk={message.chunk} with {len(message.seeds)} seeds"
            raise InvalidMessage(f"{part} is none of job {message.job_id} in this queue: use the seedmill client")
        if start.verdict is Verdict.GONE:
            raise GivenBack("this worker was taken for dead, and another has the message")
        if start.verdict is Verdict.OTHER:
            return self._fail(delivery, start)
        if start.verdict is not Verdict.RUN:
            self._drop(delivery, start.verdict)
            return None
        if start.deliveries > 1:
            metrics.RETRIES.labels("death" if start.deaths else "delivery").inc()
        facts = {"deaths": start.deaths, "failures": start.failures, "delivery": start.deliveries}
        log.info("chunk started", action="chunk_started", seeds=len(delivery.message.seeds), alone=alone, **facts)
        with self._running.order(delivery) as order:
            order.trace, order.tenant = trace, start.tenant
            try:
                outcomes = self._outcomes(delivery, start, order, alone=alone)
            except (GivenBack, QueueError):
                raise
            except Exception as error:
                if not _is_last(start):
                    raise
                outcomes = [SeedResult.failure(seed, error) for seed in delivery.message.seeds]
            ended = [_ended(*pair, start) for pair in zip(delivery.message.seeds, outcomes, strict=True)]
            results = [result for result in ended if result]
            order.close()  # who asks once it is recorded must not be given what was there before
            value = self._recorder.finish(delivery, results, start.deaths + start.failures + 1)
        log.info("chunk finished", action="chunk_finished", succeeded=value["succeeded"], failed=value["failed"])
        return value

    def _fail(self, delivery: Delivery, start: Start) -> dict[str, Any]:
        """Fail a chunk of a job that was begun with another model: its dead letter can be replayed to that."""
        message = delivery.message
        error = OtherModel(
            f"job {message.job_id} was begun with another model than its queue has now: bring that back and replay "
            "this, or submit the seeds as a new job"
        )
        log.error("chunk failed, not run", action="chunk_of_other_model", error=str(error))
        results = [SeedResult.failure(seed, error) for seed in message.seeds]
        return self._recorder.finish(delivery, results, start.deaths + start.failures)

    def _is_dropped(self, delivery: Delivery, verdict: Verdict) -> bool:
        """Drop what was revoked or has expired, unless it was begun: then it is cancelled, or too late to expire."""
        if not self._recorder.has_begun(delivery):
            self._drop(delivery, verdict)
            return True
        if verdict is Verdict.CANCELED:
            self._recorder.cancel(delivery.message.job_id)
        return False

    def _drop(self, delivery: Delivery, verdict: Verdict) -> None:
        log.info("chunk not run", action="chunk_dropped", reason=str(verdict))
        self._recorder.drop(delivery, verdict)
        metrics.CHUNKS.labels("dropped").inc()
        note(Report.dropped(verdict))

    def _outcomes(self, delivery: Delivery, start: Start, order: Order, *, alone: bool) -> list[Outcome]:
        """Return one outcome per seed, in the order of the message."""
        seeds = delivery.message.seeds
        known: dict[int, Outcome] = dict(self._published(delivery, start, order))
        for seed in self._condemned(delivery, start, known):
            message = f"workers died each time that they tried seed {seed}"
            known.setdefault(seed, SeedResult.failure(seed, SeedKillsWorker(message)))
        open_ = [seed for seed in dict.fromkeys(seeds) if seed not in known]
        open_.sort(key=lambda seed: seed != start.stopped_at)  # others before it, that fail, would hide that it kills
        for part in [[seed] for seed in open_] if alone else [open_]:
            if alone:
                self._recorder.begin(delivery, *part)
            known.update(zip(part, self._mill.process(part, order), strict=True))
        return [known[seed] for seed in seeds]

    def _published(self, delivery: Delivery, start: Start, order: Order) -> Iterator[tuple[int, SeedResult]]:
        """Yield the seeds that are published already: of those that should be, or of all in a later delivery.

        None if the job is to have them computed nevertheless.

        The bucket has the last word, since its objects can be deleted, and Redis can forget.

        Raises:
            GivenBack: that cannot be told, and it is not the last attempt.
        """
        again = start.deliveries > 1
        distinct = [] if start.force else dict.fromkeys(delivery.message.seeds)
        asked = [seed for seed in distinct if again or seed in start.known]
        for seed, outcome in zip(asked, self._mill.find(asked, order, whole=again), strict=True):
            if isinstance(outcome, GivenBack):
                if not (outcome.counts and _is_last(start)):
                    raise outcome
            elif outcome and outcome.status is SeedStatus.SUCCEEDED:
                yield seed, outcome

    def _condemned(self, delivery: Delivery, start: Start, known: Mapping[int, Outcome]) -> set[int]:
        """Return the seeds that are not tried; one that workers died at too often is now among them."""
        culprit = start.stopped_at
        if culprit is None or culprit in known or start.died < MAX_TRIES_ALONE:
            return set(start.condemned)
        log.error("a seed ends its workers, it is not tried again", action="seed_condemned", seed=culprit)
        self._recorder.condemn(delivery, culprit)
        return {*start.condemned, culprit}


def _is_last(start: Start) -> bool:
    """Return whether one more failure is the last."""
    return start.failures + 1 >= MAX_ATTEMPTS


def _ended(seed: int, outcome: Outcome, start: Start) -> SeedResult | None:
    """Return the result of a seed that has ended, ``None`` for one that nobody wants.

    Raises:
        GivenBack: it has to be tried again, and there is an attempt left.
    """
    if not isinstance(outcome, GivenBack):
        return outcome
    if outcome.counts and _is_last(start):
        cause = outcome.__cause__
        return SeedResult.failure(seed, cause if isinstance(cause, Exception) else outcome)
    raise outcome
