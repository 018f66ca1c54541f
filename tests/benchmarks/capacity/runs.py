"""Runs of the simulation: a setup is given work as clients give it, and what comes of it is counted."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import simpy

from producer.contract import DEFAULT_CHUNK_SIZE
from producer.pace import BEFORE, POLL_FIRST_S, POLL_MAX_S, SHARE
from tests.benchmarks.capacity.queue import BULK, URGENT, Job, Queue
from tests.benchmarks.capacity.world import Host, Redis, Setup, Steps, Store, Worker, World
from tests.benchmarks.compare import PAUSES_S
from tests.benchmarks.measure import percentile
from tests.benchmarks.tenants import CROWD

DICE = 20_260_101
CHUNK = DEFAULT_CHUNK_SIZE
MANY = 10**9
FULL = 0.97
"""Part of the time in use that counts as all of it."""


@dataclass(frozen=True)
class Run:
    """What came of a run; shares are parts of the time that something was in use, the mean over all of its kind."""

    seeds_per_s: float
    shares: dict[str, float]
    redis_calls_per_s: float
    puts_per_s: float
    cores_used: float
    """Of each host."""
    waits_ms: tuple[float, ...] = ()

    @property
    def bottleneck(self) -> str:
        """What is in use all the time, or else most; who uploads also waits for what stands before it."""
        full = [name for name, share in self.shares.items() if share >= FULL]
        return full[0] if full else max(self.shares, key=lambda name: self.shares[name])

    def wait_ms(self, share: float = 0.5) -> float:
        """Return the wait that this share of the lone seeds did not exceed."""
        return percentile(self.waits_ms, share)


class Simulation:
    """One world, and the clients that give it work."""

    def __init__(self, setup: Setup) -> None:
        self.env = env = simpy.Environment()
        self.setup = setup
        hosts = [Host(env, setup.cores, setup.others_share) for _ in range(setup.devices)]
        shared = hosts[0] if setup.is_one_host else None
        self.client_host = shared or Host(env, MANY)
        dice = random.Random(DICE)  # of a simulation, which is to come out the same
        self.world = World(env, setup, Redis(env, setup, shared), Store(env, setup, shared, dice), Queue(env))
        for host in hosts:
            device = simpy.Resource(env, 1 if setup.device.is_shared else setup.workers)
            self.world.workers += [Worker(self.world, host, device) for _ in range(setup.workers)]
        self._hosts = hosts
        self._names = itertools.count()

    def job(self, total: int, chunk: int = CHUNK, tenant: str = "", lane: int | None = None) -> Job:
        """Return a job that is not submitted yet: interactive if it is one message, as by default."""
        own = (URGENT if total <= chunk else BULK) if lane is None else lane
        return Job(f"{next(self._names)}", total, chunk, self.env.event(), tenant=tenant, lane=own)

    def submit(self, job: Job) -> Steps:
        """Submit a job as a client does."""
        yield from self.client_host.work(self.setup.costs.submit_ms)
        job.created_ms = self.env.now
        yield from self.world.redis.run("submit")
        self.world.queue.put(job)

    def wait(self, job: Job) -> Steps:
        """Poll a job as a client does, until it has ended."""
        started, seen, end = self.env.now, 0, self.env.now
        while True:
            yield from self.client_host.work(self.setup.costs.poll_ms)
            yield from self.world.redis.run("poll")
            if job.ended.triggered:
                return
            now = self.env.now
            if job.done != seen:
                seen, end = job.done, now + (job.total - job.done) * (now - job.created_ms) / job.done
            ahead = end - now
            foreseen = ahead * BEFORE if ahead > 0 else -ahead * SHARE
            yield self.env.timeout(
                min(1000 * POLL_MAX_S, max(1000 * POLL_FIRST_S, min(foreseen, (now - started) * SHARE)))
            )

    def run(self, work: Callable[[], Steps]) -> float:
        """Run until that is done; returns how long it took."""
        started = self.env.now
        self.env.run(self.env.process(work()))
        return self.env.now - started

    def figures(self, seeds: float, took_ms: float, before: dict[str, float], waits: Sequence[float] = ()) -> Run:
        """Return what came of a run that took so long, from what had been counted before it."""
        now = self.counted()
        used = {name: (now[name] - before[name]) / took_ms for name in now}
        workers, devices, cores = len(self.world.workers), self.setup.devices, self.setup.cores
        shares = {
            "Redis": used["redis"],
            "device": used["device"] / devices,
            "cores": used["cores"] / devices / cores,
            "interpreter of a worker": used["interpreter"] / workers,
            "uploading threads": used["uploads"] / workers / self.setup.uploads,
        }
        per_s = {name: 1000 * used[name] for name in ("calls", "puts")}
        return Run(1000 * seeds / took_ms, shares, per_s["calls"], per_s["puts"], used["cores"] / devices, tuple(waits))

    def counted(self) -> dict[str, float]:
        """Return what has been counted so far."""
        workers, redis = self.world.workers, self.world.redis
        return {
            "redis": redis.busy_ms,
            "calls": float(sum(redis.calls.values())),
            "puts": float(self.world.store.puts),
            "device": sum(worker.device_ms for worker in workers),
            "interpreter": sum(worker.interpreter_ms for worker in workers),
            "uploads": sum(worker.upload_ms for worker in workers),
            "cores": sum(host.busy_ms for host in self._hosts),
        }

    @property
    def uploaded(self) -> int:
        """Seeds that are published."""
        return self.world.store.puts // 2


def one_range(setup: Setup, seeds: int, chunk: int = CHUNK) -> Run:
    """Give one job of so many seeds, and wait for it."""
    return _jobs(setup, [(seeds, chunk)])


def lists(setup: Setup, seeds: int, size: int = CHUNK) -> Run:
    """Give jobs of a chunk each, all submitted before the first is waited for."""
    return _jobs(setup, [(min(size, seeds - first), size) for first in range(0, seeds, size)])


def lone_jobs(setup: Setup, seeds: int, submitters: int = 1) -> Run:
    """Give a job for each seed, from one or several threads, and wait for all."""
    return _jobs(setup, [(1, 1)] * seeds, submitters)


def _jobs(setup: Setup, sizes: Sequence[tuple[int, int]], submitters: int = 1) -> Run:
    simulation = Simulation(setup)
    jobs = [simulation.job(total, chunk) for total, chunk in sizes]

    def submit(some: Iterator[Job]) -> Steps:
        for job in some:
            yield from simulation.submit(job)

    def work() -> Steps:
        rest = iter(jobs)
        yield simulation.env.all_of([simulation.env.process(submit(rest)) for _ in range(submitters)])
        for job in jobs:
            yield from simulation.wait(job)

    before = simulation.counted()
    took = simulation.run(work)
    return simulation.figures(sum(total for total, _ in sizes), took, before)


def lone_seeds(setup: Setup, count: int) -> Run:
    """Give one seed after the other to an idle queue."""
    simulation = Simulation(setup)
    waits: list[float] = []

    def work() -> Steps:
        for pause_s, _ in zip(itertools.cycle(PAUSES_S), range(count), strict=False):
            yield simulation.env.timeout(1000 * pause_s)
            started, job = simulation.env.now, simulation.job(1, 1)
            yield from simulation.submit(job)
            yield from simulation.wait(job)
            waits.append(simulation.env.now - started)

    before = simulation.counted()
    took = simulation.run(work)
    return simulation.figures(count, took, before, waits)


def endless(setup: Setup, *, warm_ms: float, watched_ms: float, chunk: int = CHUNK) -> Run:
    """Watch a setup for a while that has a job without an end."""
    simulation = Simulation(setup)
    simulation.world.queue.put(simulation.job(MANY, chunk, lane=BULK))
    simulation.env.run(warm_ms)
    before, had = simulation.counted(), simulation.uploaded
    simulation.env.run(warm_ms + watched_ms)
    return simulation.figures(simulation.uploaded - had, watched_ms, before)


FEED_MS = 20.0
"""Between two looks whether the crowd is as large as it should be."""


def beside(setup: Setup, count: int, way: str) -> Run:
    """Give lone seeds of a tenant to a queue that another has filled, as ``make bench-tenants`` does.

    ``way`` is ``alone``, ``tenants``, or ``jobs``, of which no tenant is named.
    """
    simulation = Simulation(setup)
    env, queue = simulation.env, simulation.world.queue
    mine, other = ("b", "a") if way == "tenants" else ("", "")
    waits: list[float] = []
    standing: list[Job] = []

    def crowd() -> None:
        standing[:] = [job for job in standing if not job.sent]
        for _ in range(CROWD - len(standing)):
            standing.append(simulation.job(1, 1, other))
            queue.put(standing[-1])

    def feed() -> Steps:
        while True:
            crowd()
            yield env.timeout(FEED_MS)

    def work() -> Steps:
        for _ in range(count):
            yield env.timeout(FEED_MS)
            job = simulation.job(1, 1, mine)
            yield from simulation.submit(job)
            yield from simulation.wait(job)
            waits.append(job.ended_ms - job.created_ms)

    if way != "alone":
        queue.put(simulation.job(MANY, CHUNK, other, BULK))
        env.process(feed())
    before, had = simulation.counted(), simulation.uploaded
    took = simulation.run(work)
    return simulation.figures(simulation.uploaded - had, took, before, waits)
