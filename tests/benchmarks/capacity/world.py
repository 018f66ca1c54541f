"""seedmill as a simulation: workers that take, compute, encode, upload and record, as waits for what they share.

What is shared is the one thread of Redis, the cores of a host, the interpreter lock of a worker process, its uploading
threads, and the device. Times are milliseconds. What things take is told (:class:`Costs`); where it comes from is no
business of this module. Knows no results and no documents.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from tests.benchmarks.capacity.queue import Message, Queue
from worker.duties import BEAT_S, SWEEP_S
from worker.line import Line
from worker.pipeline import HANDOVER_BATCHES
from worker.service import BATCHES_IN_HAND
from worker.settings import WorkerSettings

Steps = Generator[simpy.Event, Any, Any]

SLICE_MS = 4.0
"""Time after which a core goes to the next who wants it, about as Linux does it."""

MOST_MESSAGES = int(WorkerSettings.model_fields["concurrency"].default)


@dataclass(frozen=True)
class RedisCosts:
    """CPU milliseconds of Redis: of a call, of each message in it, and of each seed in it; and bytes on the wire."""

    base_ms: Mapping[str, float]
    message_ms: Mapping[str, float]
    seed_ms: Mapping[str, float]
    beat_ms: float
    sweep_ms: float
    sweep_each_ms: float
    """What a look after all workers takes more for each of them."""

    def of(self, call: str, messages: int = 1, seeds: int = 1) -> float:
        """Return what a call takes."""
        return self.base_ms[call] + self.message_ms.get(call, 0.0) * messages + self.seed_ms.get(call, 0.0) * seeds


@dataclass(frozen=True)
class Costs:
    """What a worker, a client and the store take: CPU milliseconds, where nothing else is said."""

    redis: RedisCosts
    message_ms: float
    """A message in the worker, its interpreter held."""
    python_ms: float
    """A seed in the worker, its interpreter held."""
    native_ms: float
    """A seed in the worker, its interpreter free for others."""
    submit_ms: float
    poll_ms: float
    store_cpu_ms: float
    """An object, in the store; 0 where that is on another machine."""
    put_image_ms: float
    put_metadata_ms: float
    """Time that an object takes beside all this CPU time."""
    store_turn: float = 0.0
    """Part of the store's CPU time of an object that one object after the other takes."""
    idle_ms: float = 0.0
    """Time that a lone message takes beside all this, in the worker."""


@dataclass(frozen=True)
class Device:
    """What computes: batches, whose milliseconds by size are on straight lines between those of ``curve``; or
    ``decode_ms`` of the host's cores a seed."""

    curve: tuple[tuple[float, float], ...] = ()
    decode_ms: float = 0.0
    threads: int = 1
    is_polled: bool = False
    """Whether a core of the host does nothing else while it computes."""
    is_shared: bool = True
    """Whether the workers of a host take turns at it."""

    def batch_ms(self, seeds: int) -> float:
        """Return what a batch takes."""
        sizes, times = zip(*self.curve, strict=True)
        return float(np.interp(seeds, sizes, times))


@dataclass(frozen=True)
class Setup:
    """How many of everything there are, how they are set, and how far away."""

    costs: Costs
    device: Device
    devices: int = 1
    workers: int = 1
    """Processes for each device."""
    cores: int = 2
    """Of each host, which has one device."""
    is_one_host: bool = False
    """Whether Redis, the store and the clients use the same cores."""
    max_batch: int = 32
    uploads: int = 8
    rtt_ms: float = 0.0
    extra_cpu_ms: float = 0.0
    """CPU that a seed costs the host for what is no part of seedmill, as a proxy."""
    others_share: float = 0.0
    """Part of the cores that others take."""
    grain: int = 1
    """Seeds that are moved together: more is coarser and quicker."""


class Host:
    """Cores."""

    def __init__(self, env: simpy.Environment, cores: int, others_share: float = 0.0) -> None:
        self.env = env
        self.cores = simpy.Resource(env, cores)
        self.busy_ms = 0.0
        for _ in range(cores if others_share else 0):
            env.process(self._others(others_share))

    def work(self, ms: float) -> Steps:
        """Use a core for so long."""
        while ms > 0:
            part = min(ms, SLICE_MS)
            with self.cores.request() as turn:
                yield turn
                yield self.env.timeout(part)
            self.busy_ms += part
            ms -= part

    def _others(self, share: float) -> Steps:
        """Take a part of a core for what is none of ours: as much as it has to, however long it had to wait."""
        taken = 0.0
        while True:
            yield self.env.timeout(SLICE_MS)
            with self.cores.request() as turn:
                yield turn
                part = (share * self.env.now - taken) / (1 - share)
                yield self.env.timeout(part)
                taken += part


class Redis:
    """One thread, and what is asked of it."""

    def __init__(self, env: simpy.Environment, setup: Setup, host: Host | None) -> None:
        self.env = env
        self.setup = setup
        self.thread = simpy.Resource(env, 1)
        self.busy_ms = 0.0
        self.calls: dict[str, int] = {}
        self.workers = setup.devices * setup.workers
        self._host = host
        self._sweep_due_ms = 0.0

    def run(self, call: str, seeds: int = 1, taken: Callable[[], list[Message]] | None = None) -> Steps:
        """Carry out a call, and return what it took from the queue."""
        half_ms = self.setup.rtt_ms / 2
        if half_ms:
            yield self.env.timeout(half_ms)
        with self.thread.request() as turn:
            yield turn
            found = taken() if taken else []
            messages = len(found) if taken else 1
            seeds = sum(message.seeds for message in found) if taken else seeds
            yield from self._serve(call, self.setup.costs.redis.of(call, messages, seeds))
        if half_ms:
            yield self.env.timeout(half_ms)
        return found

    def beat(self) -> Steps:
        """Serve a worker's heartbeat, and its look after all workers if that is due."""
        costs = self.setup.costs.redis
        with self.thread.request() as turn:
            yield turn
            yield from self._serve("beat", costs.beat_ms)
            if self.env.now >= self._sweep_due_ms:
                self._sweep_due_ms = self.env.now + 1000 * SWEEP_S
                yield from self._serve("sweep", costs.sweep_ms + costs.sweep_each_ms * self.workers)

    def _serve(self, call: str, ms: float) -> Steps:
        self.calls[call] = self.calls.get(call, 0) + 1
        self.busy_ms += ms
        if self._host:
            yield from self._host.work(ms)
        else:
            yield self.env.timeout(ms)


class Store:
    """The object store: as many requests at a time as there are, each after its time."""

    def __init__(self, env: simpy.Environment, setup: Setup, host: Host | None, dice: random.Random) -> None:
        self.env = env
        self.setup = setup
        self.puts = 0
        self._host = host
        self._dice = dice
        self._turn = simpy.Resource(env, 1)

    def put(self, ms: float, count: int) -> Steps:
        """Keep so many objects, side by side."""
        self.puts += count
        if self._host:
            spent = self.setup.costs.store_cpu_ms * count
            turn_ms = spent * self.setup.costs.store_turn
            with self._turn.request() as turn:
                yield turn
                yield from self._host.work(turn_ms)
            yield from self._host.work(spent - turn_ms)
        yield self.env.timeout(ms * self._dice.uniform(0.5, 1.5))


@dataclass
class World:
    """Everything that workers share."""

    env: simpy.Environment
    setup: Setup
    redis: Redis
    store: Store
    queue: Queue
    workers: list[Worker] = field(default_factory=list)


class Worker:
    """One worker process on a host, with others or alone on a device."""

    def __init__(self, world: World, host: Host, device: simpy.Resource) -> None:
        env, setup = world.env, world.setup
        self.env, self.world, self.setup, self.costs = env, world, setup, setup.costs
        self.host, self.device = host, device
        self.interpreter = simpy.Resource(env, 1)
        self.uploads = simpy.Container(env, setup.uploads, setup.uploads)
        handed = HANDOVER_BATCHES * setup.max_batch
        self.handover = simpy.Container(env, handed, handed)
        self.line: Line[tuple[Message, int]] = Line(most=max(1, setup.max_batch // setup.grain))
        self.held: list[Message] = []
        self.takes = 0
        self.interpreter_ms = self.device_ms = self.upload_ms = 0.0
        self._room, self._work = env.event(), env.event()
        for process in (self._take, self._compute, self._live):
            env.process(process())

    def python(self, ms: float) -> Steps:
        """Use the interpreter, and a core."""
        if ms > 0:
            with self.interpreter.request() as turn:
                yield turn
                started = self.env.now
                yield from self.host.work(ms)
                self.interpreter_ms += self.env.now - started

    def _free(self) -> tuple[int, int, int]:
        """Return for how many messages, seeds, and urgent seeds there is room."""
        most = BATCHES_IN_HAND * self.setup.max_batch
        held = sum(message.seeds for message in self.held)
        urgent = sum(message.seeds for message in self.held if message.is_urgent)
        return MOST_MESSAGES - len(self.held), most - held, most - urgent

    def _take(self) -> Steps:
        queue, redis = self.world.queue, self.world.redis
        while True:
            messages, room, urgent = self._free()
            while messages <= 0 or (room <= 0 and (urgent <= 0 or not queue.urgent)):
                yield self._room if messages <= 0 else self._room | queue.changed
                messages, room, urgent = self._free()
            if not queue.waiting:
                yield queue.changed
                yield from redis.run("wake")
            self.takes += 1
            taken = yield from redis.run("take", taken=lambda: queue.take(*self._free(), self.takes))
            self.held += taken
            for message in taken:
                yield from self.python(self.costs.message_ms / 2)
                self.env.process(self._chunk(message))

    def _chunk(self, message: Message) -> Steps:
        redis, grain = self.world.redis, self.setup.grain
        yield from redis.run("start", message.seeds)
        message.made = self.env.event()
        parts = [min(grain, message.seeds - first) for first in range(0, message.seeds, grain)]
        job, urgency = message.job, 0 if message.is_urgent else 1
        items = [(message, part) for part in parts]
        self.line.put(items, job=job.name, tenant=job.tenant, urgency=urgency, now=self.env.now)
        self._notify_device()
        yield message.made
        yield from self.python(self.costs.message_ms / 2)
        yield self.env.timeout(self.costs.idle_ms)
        yield from redis.run("finish" if job.total > 1 else "finish lone", message.seeds)
        job.count(message.seeds, self.env.now)
        self.held.remove(message)
        room, self._room = self._room, self.env.event()
        room.succeed()

    def _notify_device(self) -> None:
        work, self._work = self._work, self.env.event()
        work.succeed()

    def _compute(self) -> Steps:
        while True:
            while not len(self.line):
                yield self._work
            batch = self.line.take()
            with self.device.request() as turn:
                yield turn
                started = self.env.now
                yield from self._call(sum(seeds for _, seeds in batch))
                self.device_ms += self.env.now - started
            for message, seeds in batch:
                yield self.handover.get(seeds)
                self.env.process(self._upload(message, seeds))

    def _call(self, seeds: int) -> Steps:
        device = self.setup.device
        if device.decode_ms:
            lanes = [seeds // device.threads + (lane < seeds % device.threads) for lane in range(device.threads)]
            yield self.env.all_of([self.env.process(self.host.work(device.decode_ms * n)) for n in lanes if n])
        elif device.is_polled:
            yield from self.host.work(device.batch_ms(seeds))
        else:
            yield self.env.timeout(device.batch_ms(seeds))

    def _upload(self, message: Message, seeds: int) -> Steps:
        costs, store = self.costs, self.world.store
        yield self.uploads.get(seeds)
        started = self.env.now
        yield from self.host.work((costs.native_ms + self.setup.extra_cpu_ms) * seeds)
        yield from self.python(costs.python_ms / 2 * seeds)
        yield from store.put(costs.put_image_ms, seeds)
        yield from self.python(costs.python_ms / 2 * seeds)
        yield from store.put(costs.put_metadata_ms, seeds)
        self.upload_ms += (self.env.now - started) * seeds
        yield self.uploads.put(seeds)
        yield self.handover.put(seeds)
        message.left -= seeds
        if not message.left:
            message.made.succeed()

    def _live(self) -> Steps:
        yield self.env.timeout(1000 * BEAT_S * len(self.world.workers) / max(1, self.world.redis.workers))
        while True:
            yield from self.world.redis.beat()
            yield self.env.timeout(1000 * BEAT_S)
