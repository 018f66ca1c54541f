"""Random histories of jobs and workers on a real Valkey: every chunk is sent once, in order, and counts are true."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from producer import Client, attempts, records
from producer.attempts import Ending, Start, Verdict
from producer.connection import connect
from producer.contract import BEHIND_KEYS, LANES, WAKE, JobStatus, Priority, ticket, turn
from producer.message import ChunkMessage, revoked_result
from producer.queue_keys import queue_keys
from producer.records import Backlog, Events, Extras, JobPage
from producer.submission import Submission
from tests.integration.conftest import message_in
from worker.local.stack import Endpoints
from worker.queue.ledger import Ledger

WORKERS = st.integers(0, 1)
TENANTS = st.sampled_from(["", "a", "b"])
CHUNK = 3


class Histories(RuleBasedStateMachine):
    """Two workers, a client, and what ought to be where."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.client = Client(self.url, chunk_size=CHUNK)
        self.redis: Any = self.client._redis
        self.redis.flushdb()
        self.connection = connect(self.url, decode=False)
        self.ledgers = [self.start() for _ in range(2)]
        self.names = itertools.count()
        self.seeds: dict[str, tuple[int, ...]] = {}
        self.sent: dict[str, list[int]] = defaultdict(list)
        self.held: list[dict[str, ChunkMessage]] = [{}, {}]
        self.returned: Counter[str] = Counter()
        self.canceled: set[str] = set()
        self.lanes: dict[str, tuple[int, str]] = {}
        self.done: Counter[str] = Counter()

    def start(self) -> Ledger:
        return Ledger(self.connection, limit=5, seeds=12, result_ttl_s=60)

    @rule(number=st.integers(1, 20), span=st.booleans(), priority=st.sampled_from(Priority), tenant=TENANTS)
    def submit(self, number: int, span: bool, priority: Priority, tenant: str) -> None:
        job = f"j{next(self.names)}"
        seeds = tuple(range(number) if span else range(number, 0, -1))
        given = range(number) if span else seeds
        extras = Extras(tenant=tenant)
        made = self.client._run(Submission.check(given, job, self.client.settings, priority, extras=extras).call(""))
        assert made == records.MADE
        self.seeds[job] = seeds
        self.lanes[job] = LANES.index(priority.lane), tenant

    @rule(worker=WORKERS)
    def take(self, worker: int) -> None:
        ledger = self.ledgers[worker]
        room = ledger.free
        for one in ledger.take():
            message = message_in(one.text)
            self.held[worker][one.tag] = message
            if one.seeds:
                self.sent[message.job_id].append(message.chunk)
                first = message.chunk * CHUNK
                assert message.seeds == self.seeds[message.job_id][first : first + CHUNK]
            else:
                self.returned[message.task_id] -= 1
                ledger.weigh(one.tag, len(message.seeds))
            room -= 1
        assert room >= 0

    @rule(worker=WORKERS, data=st.data())
    def end_one(self, worker: int, data: st.DataObject) -> None:
        if self.held[worker]:
            self.end(worker, data.draw(st.sampled_from(sorted(self.held[worker]))))

    def end(self, worker: int, tag: str) -> None:
        """Do with a message what a worker does."""
        ledger, message = self.ledgers[worker], self.held[worker].pop(tag)
        start = attempts.start_chunk(message, held=ledger.key, tag=tag, adopt=False, alone=True, ttl_s=60)
        verdict = Start.parse(self.client._run(start)).verdict
        if verdict is Verdict.RUN:
            ending = Ending(len(message.seeds), 0, "{}")
            self.client._run(attempts.finish_chunk(message, ending, held=ledger.key, tag=tag, ttl_s=60))
            self.done[message.job_id] += len(message.seeds)
        else:
            assert (verdict, message.job_id in self.canceled) == (Verdict.CANCELED, True)
            text = revoked_result(message.task_id, "no")
            self.client._run(attempts.drop_chunk(message, text, ttl_s=60, held=ledger.key, tag=tag))
        ledger.settled(tag)

    @rule(worker=WORKERS, data=st.data())
    def give_back_one(self, worker: int, data: st.DataObject) -> None:
        if self.held[worker]:
            tag = data.draw(st.sampled_from(sorted(self.held[worker])))
            self.returned[self.held[worker].pop(tag).task_id] += 1
            self.ledgers[worker].give_back(tag)

    @rule(worker=WORKERS)
    def die(self, worker: int) -> None:
        """A worker is swept, and another takes its place."""
        self.ledgers[worker].leave()
        self.returned.update(message.task_id for message in self.held[worker].values())
        self.held[worker] = {}
        self.ledgers[worker] = self.start()

    @precondition(lambda self: self.seeds)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.seeds)))
        if self.client.cancel(job).status is JobStatus.CANCELED:
            self.canceled.add(job)

    @precondition(lambda self: self.seeds)
    @rule(data=st.data())
    def mend(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.seeds)))
        assert self.client._run(records.mend_ticket(job)) == 0
        assert self.client._run(records.mend_turn(self.lanes[job][1] or "nobody")) == 0

    def left(self, job: str) -> int:
        """Return how many chunks of a job are still to be sent."""
        return 0 if job in self.canceled else -(-len(self.seeds[job]) // CHUNK) - len(self.sent[job])

    @invariant()
    def chunks_are_sent_once_and_in_order(self) -> None:
        assert all(chunks == list(range(len(chunks))) for chunks in self.sent.values())

    @invariant()
    def tickets_and_counts_are_those_of_the_jobs_that_have_chunks_to_send(self) -> None:
        left = {job: self.left(job) for job in self.seeds if self.left(job)}
        tickets: dict[tuple[int, str], list[str]] = defaultdict(list)
        for job in left:
            tickets[self.lanes[job]].append(ticket(job))
        counts: list[dict[str, int]] = [{} for _ in LANES]
        for (where, tenant), own in tickets.items():
            if tenant and len(own) > 1:
                counts[where][turn(tenant)] = len(own) - 1
        for job, number in left.items():
            if number > 1:
                counts[self.lanes[job][0]][job] = number - 1
        for index, lane in enumerate(LANES):
            entries = [text for text in self.redis.lrange(lane, 0, -1) if text != WAKE and text[0] != "{"]
            turns = [turn(tenant) for where, tenant in tickets if where == index and tenant]
            assert sorted(entries) == sorted(tickets[index, ""] + turns)
            for tenant in "ab":
                assert sorted(self.redis.lrange(queue_keys().turns(index, tenant), 0, -1)) == sorted(
                    tickets[index, tenant]
                )
            behind = {name: int(n) for name, n in self.redis.hgetall(BEHIND_KEYS[index]).items()}
            assert behind == counts[index]
        seen = self.client.queue()
        assert seen.waiting == sum(left.values()) + self.returned.total()
        assert seen.held == sum(map(len, self.held))

    @invariant()
    def the_backlog_is_what_has_not_ended(self) -> None:
        open_ = {job: len(seeds) - self.done[job] for job, seeds in self.seeds.items() if job not in self.canceled}
        for tenant in ("a", "b", ""):
            seen = Backlog.parse(self.client._run(records.backlog(tenant)))
            own = [job for job in self.seeds if self.lanes[job][1] == tenant]
            assert seen.seeds == sum(open_.values())
            assert (seen.bytes > 0) == (seen.seeds > 0)
            assert seen.seeds + seen.ended == sum(map(len, self.seeds.values()))
            if tenant:
                assert seen.tenant_seeds == sum(open_.get(job, 0) for job in own)
                assert seen.tenant_seeds + seen.tenant_ended == sum(len(self.seeds[job]) for job in own)

    def check_events(self, job: str) -> None:
        """The log has each chunk once, and each status when the job took it."""
        events = Events.parse(job, self.client._run(records.read_events(job)))
        chunks = [entry.chunk for entry in events.entries if entry.chunk is not None]
        statuses = [entry.status for entry in events.entries if entry.status]
        assert len(chunks) == len(set(chunks)) == -(-self.done[job] // CHUNK)
        end = JobStatus.CANCELED if job in self.canceled else JobStatus.SUCCEEDED
        assert statuses in ([JobStatus.RUNNING, end], [end])
        assert statuses != [JobStatus.SUCCEEDED]

    def teardown(self) -> None:
        """Let one worker do all that is left."""
        self.die(0)
        self.die(1)
        while self.client.queue().waiting:
            self.take(0)
            for tag in list(self.held[0]):
                self.end(0, tag)
        for job in self.seeds.keys() - self.canceled:
            assert self.client.get(job).status is JobStatus.SUCCEEDED
            assert self.sent[job] == list(range(-(-len(self.seeds[job]) // CHUNK)))
        assert not self.redis.exists(*BEHIND_KEYS)
        for job in self.seeds:
            self.check_events(job)
        backlog = Backlog.parse(self.client._run(records.backlog()))
        assert (backlog.seeds, backlog.bytes) == (0, 0)
        page = JobPage.parse(self.client._run(records.list_jobs(limit=1000)))
        assert sorted(record.id for record in page.records) == sorted(self.seeds)
        self.connection.close()
        self.client.close()


def test_every_chunk_is_sent_once_whatever_becomes_of_jobs_and_workers(
    quiet: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Histories, "url", quiet.redis_url)
    quick = settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Histories, settings=quick)
