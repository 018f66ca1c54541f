"""The messages that this worker has taken: every one is in its hash in Redis from the moment that it leaves the queue.

A message is at all times in exactly one place, a lane of the queue, the hash of one worker, or the dead letters; each
move is one Lua step (worker/queue/scripts/). While the worker says that it lives, nobody takes what it holds; when it
is gone, others give that back. What cannot be told to Redis during an outage is told after it. The messages of a job
come into being where its ticket is taken. Knows nothing of Celery or of what the messages mean.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import redis
import structlog

from producer.connection import reconnect, takes_no_writes
from producer.contract import (
    ACTIVE_KEY,
    CELERY_RESULT_PREFIX,
    DEAD_INDEX_KEY,
    DEAD_KEY,
    DEFAULT_QUEUE,
    JOB_KEY_PREFIX,
    MAX_DEAD_LETTERS,
    MAX_MESSAGE_BYTES,
    MIXED,
    QUEUES_KEY,
    SEEDS_KEY_PREFIX,
    TICKET_PREFIX,
    TURN_PREFIX,
    TURN_SEEDS,
    WAKE,
    held_key,
)
from producer.message import message_template
from producer.queue_keys import queue_keys
from worker.monitoring import metrics
from worker.queue.burial import Burial
from worker.queue.claim import check_claim, check_kept
from worker.queue.sweeper import GRACE_S, Sweeper, run_script

log = structlog.get_logger(__name__)

LEASE_S = 20.0
"""Seconds after its last word that a worker counts as alive, if its connection is not seen to close."""

BACKWARDS_EVERY = 8
"""One take of this many begins with another than the first lane, each in turn, so that none starves."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message as it came: ``text`` is cut after MAX_MESSAGE_BYTES of its ``size`` in bytes.

    ``seeds`` is how many it has, 0 if only reading it will tell.
    """

    tag: str
    lane: str
    size: int
    text: bytes
    seeds: int = 0


class Load(NamedTuple):
    """What a message that is held weighs."""

    seeds: int
    is_urgent: bool


class Room(NamedTuple):
    """Seeds that may be taken yet: of all lanes, and of the first one."""

    all: int
    urgent: int


class Ledger:
    """The messages that one worker process holds; safe to use from many threads.

    Args:
        client: a connection to Redis that does not decode replies.
        limit: most messages held at a time.
        seeds: seeds in the messages held from which on no more are taken; those of the first lane have as much room
            again for themselves, so that they do not wait for others to be finished.
        result_ttl_s: seconds that the Celery results of malformed messages live.
        lease_s: see LEASE_S.
        queue: whose messages it takes.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        limit: int,
        seeds: int,
        result_ttl_s: int,
        lease_s: float = LEASE_S,
        queue: str = DEFAULT_QUEUE,
    ) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.key = held_key(self.id)
        self.queue = queue_keys(queue)
        self.limit = limit
        self.seeds = seeds
        self._model = ""  # that the queue was claimed for
        self._redis: Any = client
        self._sweeper = Sweeper(client, self.queue)
        self._lease_ms = int(lease_s * 1000)
        self._result_ttl_ms = result_ttl_s * 1000
        self._lock = threading.RLock()  # a signal may come while it is held, and its handler asks as well
        self._held: dict[str, Load] = {}  # by tag
        self._owed: dict[str, bool] = {}  # tag -> whether it goes back to the queue
        self._takes = 0
        self._taking = ""
        self._open = True
        self._heard = time.monotonic()
        self._quiet_until = 0.0

    @property
    def free(self) -> int:
        """How many more messages may be taken, should each be one seed, and of the first lane."""
        with self._lock:
            return max(0, min(self.limit - len(self._held), self._room().urgent)) if self._open else 0

    @property
    def is_crowded(self) -> bool:
        """Whether there is room for messages of the first lane alone."""
        with self._lock:
            return self._room().all <= 0

    @property
    def held(self) -> int:
        """How many messages are held."""
        with self._lock:
            return len(self._held)

    @property
    def held_seeds(self) -> int:
        """How many seeds the messages have that are held."""
        with self._lock:
            return sum(load.seeds for load in self._held.values())

    def holds(self, tag: str) -> bool:
        """Return whether the message is still this worker's to settle."""
        with self._lock:
            return tag in self._held

    def stop_taking(self) -> None:
        """Take no more from now on."""
        with self._lock:
            self._open = False

    def claim(self, model: str) -> None:
        """Serve the queue with this model from now on; ``MIXED`` stands for whichever workers of the queue have.

        Raises:
            QueueTaken: it is served with another, or jobs are under way that were begun with that.
        """
        keys = [QUEUES_KEY, self.queue.workers, self.queue.worker_facts, ACTIVE_KEY]
        args = [self.queue.name, model, self.id, self._lease_ms, JOB_KEY_PREFIX, MIXED, DEFAULT_QUEUE]
        served, workers, job = self._run("claim", keys, args)
        check_claim(self.queue.name, model, (served.decode(), workers, job.decode()))
        self._model = model

    def probe(self) -> None:
        """Raise what the Redis client raises if Redis does not answer, or takes no writes; changes nothing."""
        self._redis.zadd(self.queue.workers, {self.id: 0}, xx=True, gt=True)

    def take(self) -> list[Taken]:
        """Take as many messages as there is room for, the most urgent first."""
        with self._lock:
            if not self.free:
                return []
            most, room = self.limit - len(self._held), self._room()
            self._takes += 1
            self._taking = prefix = f"{self._takes}."
            turn, rest = divmod(self._takes, BACKWARDS_EVERY)
        try:
            args = [self.id, self._lease_ms, prefix, most, *room, MAX_MESSAGE_BYTES, WAKE, -1 if rest else turn]
            queue = self.queue
            args += [TICKET_PREFIX, JOB_KEY_PREFIX, SEEDS_KEY_PREFIX, message_template(queue.name)]
            args += [TURN_PREFIX, queue.turns_prefix, queue.credit_prefix, TURN_SEEDS]
            answer = self._run("take", [self.key, queue.workers, *queue.lanes, *queue.behind], args)
            taken = [Taken(tag.decode(), lane.decode(), size, text, seeds) for tag, lane, size, text, seeds in answer]
            with self._lock:
                for message in taken:
                    self._held[message.tag] = Load(max(1, message.seeds), message.lane == queue.celery)
        finally:
            with self._lock:
                self._taking = ""
        return taken

    def weigh(self, tag: str, seeds: int) -> None:
        """Note how many seeds a message has that was taken for one."""
        with self._lock:
            if load := self._held.get(tag):
                self._held[tag] = load._replace(seeds=seeds)

    def settled(self, tag: str) -> None:
        """Note that the message has been acknowledged together with its result."""
        with self._lock:
            self._held.pop(tag, None)

    def settle(self, tag: str) -> None:
        """Acknowledge a message, unless that was done; during an outage of Redis, as soon as it is over."""
        self._let_go(tag, back=False)

    def give_back(self, tag: str) -> None:
        """Put a message back into the queue, unless it is settled; during an outage of Redis, as soon as it is over."""
        self._let_go(tag, back=True)

    def bury(self, burials: Sequence[Burial]) -> None:
        """Move messages to the dead letters; during an outage of Redis they go back to the queue after it."""
        args: list[Any] = [MAX_DEAD_LETTERS, self._result_ttl_ms, CELERY_RESULT_PREFIX, JOB_KEY_PREFIX]
        for burial in burials:
            letter = replace(burial.letter, queue=self.queue.name)
            args += [burial.tag, letter.id, letter.encode(), burial.task_id, burial.celery_result]
        try:
            self._run("bury", [self.key, DEAD_KEY, DEAD_INDEX_KEY], args)
            metrics.DEAD_LETTERS.inc(len(burials))
        except redis.RedisError as error:
            log.warning("dead letters not written", action="bury_failed", error=str(error))
            for burial in burials:
                self.give_back(burial.tag)
        for burial in burials:
            self.settled(burial.tag)

    def reconnect(self) -> None:
        """Go to whichever server is the primary now."""
        reconnect(self._redis)

    def beat(self, facts: Mapping[str, Any]) -> None:
        """Say that this worker lives, pay what is owed, and give back what came in a reply that was lost.

        Raises:
            QueueTaken: the queue that it had claimed has another model by now.
        """
        try:
            self._beat(facts)
        except redis.ResponseError as error:
            if takes_no_writes(error):
                self.reconnect()
            raise

    def _beat(self, facts: Mapping[str, Any]) -> None:
        text = json.dumps({**facts, "id": self.id, "connection": self._connection()}, sort_keys=True)
        queue = self.queue
        keys = [queue.workers, queue.worker_facts, self.key, QUEUES_KEY]
        served, tags = self._run("beat", keys, [self.id, self._lease_ms, text, queue.name, self._model])
        check_kept(queue.name, self._model, served.decode())
        now = time.monotonic()
        if now - self._heard > self._lease_ms / 2000:
            self._quiet_until = now + GRACE_S
        self._heard = now
        self._pay()
        with self._lock:
            known = self._held.keys() | self._owed.keys()
            lost = [tag for tag in (raw.decode() for raw in tags) if tag not in known and not self._is_coming(tag)]
        if lost and (returned := self._run("return", [self.key, *queue.lanes], [WAKE, *lost])):
            log.warning("messages of a lost reply went back", action="lost_reply", messages=returned)

    def sweep(self, every_s: float = 0.0) -> int:
        """Give back what workers that are gone held, unless one of the queue's workers did within so many seconds.

        Returns how many messages went back.
        """
        return 0 if time.monotonic() < self._quiet_until else self._sweeper.sweep(every_s)

    def leave(self) -> int:
        """Give everything back and leave the list of workers; returns how many messages went back."""
        self.stop_taking()
        self._pay()
        returned = self._sweeper.leave(self.id)
        with self._lock:
            self._held.clear()
        return returned

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _room(self) -> Room:
        urgent = sum(load.seeds for load in self._held.values() if load.is_urgent)
        return Room(self.seeds - self.held_seeds, self.seeds - urgent)

    def _let_go(self, tag: str, *, back: bool) -> None:
        with self._lock:
            if tag not in self._held:
                return
            del self._held[tag]
            self._owed[tag] = back
        try:
            self._pay()
        except redis.RedisError as error:
            metrics.RETRIES.labels("redis").inc()
            log.warning("owed to Redis until it is back", action="redis_waiting", error=str(error))

    def _pay(self) -> None:
        """Tell Redis which messages are settled and which go back."""
        with self._lock:
            owed = dict(self._owed)
        back = [tag for tag, goes_back in owed.items() if goes_back]
        done = [tag for tag, goes_back in owed.items() if not goes_back]
        if done:
            self._redis.hdel(self.key, *done)
        if back:
            self._run("return", [self.key, *self.queue.lanes], [WAKE, *back])
        with self._lock:
            for tag in owed:
                self._owed.pop(tag, None)

    def _is_coming(self, tag: str) -> bool:
        return bool(self._taking) and tag.startswith(self._taking)

    def _connection(self) -> int | None:
        """Return the number of a connection of this worker, or ``None`` where that is not to be had."""
        try:
            return int(self._redis.client_id())
        except redis.ResponseError as error:
            log.debug("a connection has no number", action="client_id_refused", error=str(error))
            return None

    def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return run_script(self._redis, script, keys, args)
