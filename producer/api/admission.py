"""The bounded queue: what it still takes, and when a refused caller should come again.

Redis counts and refuses, in the step that would have enqueued (producer/scripts/create_job.lua). Here is how fast seeds
have ended over the last minute, while there were any, and so how long it takes until there is room.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from typing import NoReturn

from producer import records
from producer.api.settings import ApiSettings
from producer.contract import DEFAULT_QUEUE
from producer.errors import QueueError, QueueFull, SettingsError
from producer.records import Backlog, Bounds

SAMPLE_S = 5.0
WINDOW_S = 60.0
LEAST_MS = 1000
"""Least time between samples that are kept."""
MAX_TENANTS = 1000
"""Tenants whose speed is remembered: those that were refused last."""

LONGEST_S = 3600
IDLE_S = 60
"""When to come again if nothing is being done."""
UNKNOWN_S = 15
"""When to come again if something is being done, and how fast is not known yet."""


class Admission:
    """Bounds, and the speed at which the queue empties.

    Args:
        settings: the bounds.
        read: asks Redis for what waits, of all and of a tenant.
        working: tells whether a worker lives.
    """

    def __init__(
        self,
        settings: ApiSettings,
        read: Callable[[str], Awaitable[Backlog]],
        working: Callable[[], Awaitable[bool]],
    ) -> None:
        self._settings = settings
        self._read = read
        self._working = working
        self._samples: OrderedDict[str, deque[Backlog]] = OrderedDict()

    def bounds(self, tenant: str, share: float | None) -> Bounds:
        """Return what a new job of a tenant must fit into; ``share`` is that of its key, if it has one."""
        seeds = self._settings.api_max_queued_seeds
        part = math.floor(seeds * (self._settings.api_key_share if share is None else share))
        return Bounds(seeds, self._settings.api_max_queued_bytes, max(1, part) if tenant and seeds else 0)

    def check(self, seeds: Sequence[int], bounds: Bounds) -> None:
        """Raise :class:`~producer.errors.SettingsError` for a job that could not be taken if nothing else waited."""
        for most, name in ((bounds.seeds, "the queue takes"), (bounds.share, "your share of the queue is")):
            if most and len(seeds) > most:
                raise SettingsError(
                    f"a job of {len(seeds)} seeds is never taken, since {name} {most} seeds: submit several jobs"
                )

    async def run(self) -> None:
        """Look at the queue now and then, until cancelled."""
        while True:
            try:
                await self.look()
            except QueueError:
                self._samples.clear()
            await asyncio.sleep(SAMPLE_S)

    async def look(self) -> Backlog:
        """Return what waits now, which the speed is told by as well."""
        return await self._sample("")

    def waiting(self) -> Mapping[str, float]:
        """Return the seeds of each queue that waited when Redis was last asked.

        Where it did not answer, or was not asked yet, there is the default queue alone, with NaN.
        """
        samples = self._samples.get("")
        return samples[-1].queues if samples else {DEFAULT_QUEUE: math.nan}

    def speed(self) -> float:
        """Return the seeds a second of the last minute, as far as there was something to do; 0 if nobody knows."""
        return speed(self._samples.get("", ()), share=False)

    async def refuse(self, answer: int, tenant: str, seeds: int, bounds: Bounds) -> NoReturn:
        """Raise the :class:`~producer.errors.QueueFull` that a refusal of Redis means."""
        share = answer == records.SHARE_FULL
        await self._sample(tenant if share else "")
        samples = self._samples[tenant if share else ""]
        now = samples[-1]
        waiting, most = (now.tenant_seeds, bounds.share) if share else (now.seeds, bounds.seeds)
        excess: float = waiting + seeds - most
        if answer == records.BYTES_FULL:
            excess = now.seeds * max(0.0, 1 - bounds.bytes / max(1, now.bytes)) + seeds
        seconds = seconds_until(excess, speed(samples, share=share) or self._fair_speed(now, share=share))
        what = f"your share of the queue, {most} seeds," if share else f"the queue, {bounds.seeds} seeds,"
        if answer == records.BYTES_FULL:
            what = f"the queue, {bounds.bytes} bytes,"
        hope = f"there should be room in {seconds} s"
        if not seconds:
            seconds, hope = await self._without_speed()
        raise QueueFull(f"{what} is too full for {seeds} more: {hope}; nothing was enqueued", seconds, share=share)

    async def _without_speed(self) -> tuple[int, str]:
        """Return when to come again, and why then, where no seed was seen to end."""
        if await self._working():
            return UNKNOWN_S, f"how fast seeds end is not known yet, try again in {UNKNOWN_S} s"
        return IDLE_S, "nothing is being done at present, since no worker is seen"

    def _fair_speed(self, now: Backlog, *, share: bool) -> float:
        """Return the speed to expect of a tenant that was not looked at before: its part of that of all."""
        overall = self.speed()
        return overall * now.tenant_seeds / max(1, now.seeds) if share else overall

    async def _sample(self, tenant: str) -> Backlog:
        samples = self._samples.setdefault(tenant, deque())
        self._samples.move_to_end(tenant)
        found = await self._read(tenant)
        if len(samples) > 1 and found.now_ms - samples[-1].now_ms < LEAST_MS and not _began(samples[-2], samples[-1]):
            samples.pop()
        samples.append(found)
        while found.now_ms - samples[0].now_ms > WINDOW_S * 1000:
            samples.popleft()
        while len(self._samples) > MAX_TENANTS:
            self._samples.popitem(last=False)
        return found


def speed(samples: Sequence[Backlog], *, share: bool) -> float:
    """Return the seeds that ended in a second while there were any to do; 0 if that cannot be told.

    What lies between two samples counts if something was there at the first of them.
    """
    ended, passed_ms = 0, 0
    for first, last in pairwise(samples):
        if first.tenant_seeds if share else first.seeds:
            ended += last.tenant_ended - first.tenant_ended if share else last.ended - first.ended
            passed_ms += last.now_ms - first.now_ms
    return max(0, ended) * 1000 / passed_ms if passed_ms > 0 else 0.0


def _began(first: Backlog, last: Backlog) -> bool:
    """Whether there was something to do at the second sample alone: only from there on is a speed to be told."""
    return first.seeds == 0 < last.seeds or first.tenant_seeds == 0 < last.tenant_seeds


def seconds_until(seeds: float, seeds_per_s: float) -> int:
    """Return the whole seconds until so many seeds have ended, within an hour; 0 if none ends."""
    if seeds_per_s <= 0:
        return 0
    return min(LONGEST_S, max(1, math.ceil(seeds / seeds_per_s)))
