"""Readers of event streams, for the API's benchmark: ``python -m tests.benchmarks.streams PLAN``, a file of JSON.

Each reader follows a job until its stream ends and sees that every seed comes exactly once. Prints JSON: how many
events came, what was wrong, and by how much results were late, from the record in Redis, of which this process hears
by a subscription of its own, till they were here.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from redis.asyncio.client import PubSub

from producer.connection import connect_async
from producer.contract import CHANGES_CHANNEL, events_key
from tests.benchmarks.measure import percentile

CONNECT_S = 30.0
SILENT_S = 60.0
"""Longest time without a line; the server sends one every fifteen seconds."""


class Arrival(NamedTuple):
    """A result that came, and when; ``entry`` is the number of its entry in the job's log."""

    job: str
    entry: int
    opened_s: float
    at_s: float


class Logs:
    """When the entries of jobs' logs were recorded, as far as that is known."""

    def __init__(self, jobs: Iterable[str]) -> None:
        self._times: dict[str, list[float]] = {job: [] for job in jobs}

    def note(self, job: str, length: int, at_s: float) -> None:
        """Note how many entries a log has; those that are new are of this time."""
        times = self._times[job]
        times += [at_s] * (length - len(times))

    def late_ms(self, arrival: Arrival) -> float | None:
        """Return how late a result came; ``None`` if it was recorded before its stream was opened, or nobody knows."""
        times = self._times[arrival.job]
        recorded_s = times[arrival.entry - 1] if arrival.entry <= len(times) else 0.0
        return max(0.0, arrival.at_s - recorded_s) * 1000 if recorded_s > arrival.opened_s else None

    @asynccontextmanager
    async def kept(self, redis_url: str) -> AsyncIterator[None]:
        """Note what is recorded meanwhile; of what was before only that it was."""
        redis = connect_async(redis_url)
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as listener:
                await listener.subscribe(CHANGES_CHANNEL)
                await listener.get_message(timeout=CONNECT_S)  # the subscription's own, which is ignored
                for job in self._times:
                    self.note(job, await _length(redis, job), 0.0)
                listening = asyncio.create_task(self._listen(redis, listener))
                yield
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
        finally:
            await redis.aclose()

    async def _listen(self, redis: Any, listener: PubSub) -> None:
        async for message in listener.listen():
            if (job := message["data"]) in self._times:
                at_s = time.time()
                self.note(job, await _length(redis, job), at_s)


async def _length(redis: Any, job: str) -> int:
    return int(await redis.llen(events_key(job)))


@dataclass
class Seen:
    """What all readers have seen."""

    logs: Logs

    opened: int = 0
    by_name: Counter[str] = field(default_factory=Counter)
    arrivals: list[Arrival] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def note(self, job: str, name: str, event_id: str, opened_s: float) -> None:
        """Note an event of a job's stream."""
        now = time.time()
        self.by_name[name] += 1
        self.at_s.append(now)
        if name == "result":
            self.arrivals.append(Arrival(job, int(event_id.partition(".")[0]), opened_s, now))

    def to_dict(self) -> dict[str, Any]:
        """Return the figures; the speed is that of the middle half of all events."""
        late_ms = [late for one in self.arrivals if (late := self.logs.late_ms(one)) is not None]
        times, count = sorted(self.at_s), len(self.at_s)
        first, last = count // 4, count * 3 // 4
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return {
            "streams": self.opened,
            "events": dict(self.by_name),
            "events_per_s": (last - first) / (times[last] - times[first]) if last > first else 0.0,
            "late": {f"{name}_ms": percentile(late_ms, share) if late_ms else None for name, share in shares.items()},
            "wrong": self.wrong[:10],
        }


async def events_of(response: httpx2.Response) -> AsyncIterator[tuple[str, str, Any]]:
    """Yield name, id and data of each event of a stream."""
    found: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            found[name] = value.removeprefix(" ")
        elif "data" in found:
            yield found["event"], found.get("id", ""), json.loads(found["data"])
            found = {}


async def follow(client: httpx2.AsyncClient, job: dict[str, Any], seen: Seen) -> None:
    """Follow a job to its end."""
    opened_s, seeds, status = time.time(), Counter[int](), ""
    async with client.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
        if response.status_code != 200:
            seen.wrong.append(f"{job['id']}: {response.status_code} {(await response.aread()).decode()}")
            return
        seen.opened += 1
        async for name, event_id, data in events_of(response):
            seen.note(job["id"], name, event_id, opened_s)
            if name == "result":
                seeds[data["seed"]] += 1
            elif name == "status":
                status = data["status"]
    if seeds != Counter(range(job["first"], job["first"] + job["count"])) or status != "succeeded":
        seen.wrong.append(f"{job['id']}: {seeds.total()} results of {len(seeds)} seeds, last status {status!r}")


async def follow_all(plan: dict[str, Any]) -> Seen:
    """Follow all jobs at once, each with as many readers as the plan says."""
    seen, count = Seen(Logs(job["id"] for job in plan["jobs"])), plan["readers"] * len(plan["jobs"])
    timeout = httpx2.Timeout(SILENT_S, connect=CONNECT_S)
    limits = httpx2.Limits(max_connections=count)
    headers = {"Authorization": f"Bearer {plan['key']}"}
    async with (
        seen.logs.kept(plan["redis_url"]),
        httpx2.AsyncClient(base_url=plan["url"], headers=headers, timeout=timeout, limits=limits) as client,
    ):
        readers = [follow(client, job, seen) for job in plan["jobs"] for _ in range(plan["readers"])]
        for outcome in await asyncio.gather(*readers, return_exceptions=True):
            if isinstance(outcome, BaseException):
                seen.wrong.append(repr(outcome))
    return seen


def main() -> None:
    """Follow and print."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(asyncio.run(follow_all(plan)).to_dict()))


if __name__ == "__main__":
    main()
