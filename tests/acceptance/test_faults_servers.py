"""Redis and the object store go away, and so does the network: every seed still has its fate, its objects are whole.

Each test has servers of its own, which it may kill. ``make torture`` runs these in their full form.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from producer import Client
from producer.connection import connect
from producer.contract import DEAD_KEY, JobStatus
from producer.errors import JobNotFound, QueueError, QueueRefused, QueueUnreachable
from tests.torture import stock
from tests.torture.bench import Bench, kill, wait_until
from tests.torture.proxy import Proxy
from tests.torture.soak import soak
from tests.torture.stand_in import Plan
from tests.torture.tls import tls_in_front_of
from worker.local.process import Process
from worker.local.servers import Server, start_valkey

Fresh = Callable[[int], range]
SLOW = pytest.mark.slow


@pytest.fixture
def proxy(own_bench: Bench) -> Iterator[Proxy]:
    """Between the workers of a test and its Valkey."""
    proxy = Proxy(own_bench.valkey.port)
    yield proxy
    proxy.hold = proxy.hold_replies = False
    proxy.close()


@pytest.mark.parametrize("down_s", [2, pytest.param(10, marks=SLOW), pytest.param(45, marks=SLOW)])
def test_a_redis_that_is_killed_and_comes_back_loses_and_repeats_nothing(
    own_bench: Bench, seeds: Fresh, down_s: float
) -> None:
    wanted = seeds(200)
    worker = own_bench.worker(Plan(ms_per_seed=10))
    job = own_bench.client.submit(wanted)
    wait_until(lambda: own_bench.client.get(job.id).counts.done >= 20, "a beginning")
    own_bench.kill_valkey()
    time.sleep(down_s)
    own_bench.start_valkey()
    back = time.monotonic()
    before = own_bench.client.get(job.id).counts.done
    wait_until(lambda: own_bench.client.get(job.id).counts.done > before + 32, "work again")
    assert time.monotonic() - back < 15
    own_bench.check(job)
    assert worker.exit_status is None
    assert {own_bench.computed_counts()[seed] for seed in wanted} == {1}, "what was computed was kept in hand"


def test_a_client_over_a_restart_of_redis_sees_typed_errors_and_never_a_wrong_end(
    own_bench: Bench, seeds: Fresh
) -> None:
    own_bench.worker(Plan(ms_per_seed=20))
    job = own_bench.client.submit(seeds(80))
    seen: list[object] = []
    killed = restarted = False
    started = time.monotonic()
    while not seen or seen[-1] is not JobStatus.SUCCEEDED:
        try:
            seen.append(own_bench.client.get(job.id).status)
        except QueueError as error:
            seen.append(type(error))
        if not killed and own_bench.client is not None and time.monotonic() - started > 0.5:
            own_bench.kill_valkey()
            killed = True
        elif killed and not restarted and isinstance(seen[-1], type):
            own_bench.start_valkey()
            restarted = True
        time.sleep(0.02)
        assert time.monotonic() - started < 60
    assert any(isinstance(entry, type) for entry in seen)
    assert not {JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED} & set(seen)


def test_a_power_cut_forgets_whole_jobs_of_the_last_moment_and_says_so(own_bench: Bench, seeds: Fresh) -> None:
    """The append-only file is cut to what it was a moment ago, as ``appendfsync everysec`` may leave it."""
    kept = own_bench.client.submit(seeds(20))
    files = own_bench.folder / "valkey" / "appendonlydir"
    (aof,) = files.glob("*.incr.aof")
    wait_until(lambda: aof.stat().st_size, "a written file")
    time.sleep(0.1)
    size = aof.stat().st_size
    forgotten = own_bench.client.submit(seeds(20))
    own_bench.kill_valkey()
    with aof.open("r+b") as file:
        file.truncate(size)
    own_bench.start_valkey()
    own_bench.worker()
    own_bench.check(kept)
    with pytest.raises(JobNotFound):
        own_bench.client.get(forgotten.id)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ],
    ids=["full", "without its replicas", "a replica"],
)
def test_a_redis_that_takes_no_writes_refuses_submits_and_costs_nothing_that_it_had_accepted(
    own_bench: Bench, seeds: Fresh, begin: str, end: str
) -> None:
    wanted = seeds(120)
    worker = own_bench.worker(Plan(ms_per_seed=10))
    job = own_bench.client.submit(wanted)
    wait_until(lambda: own_bench.client.get(job.id).counts.done >= 8, "a beginning")
    own_bench.redis.execute_command(*begin.split())
    time.sleep(2)
    with pytest.raises(QueueRefused):
        own_bench.client.submit(1)
    own_bench.redis.execute_command(*end.split())
    own_bench.check(job)
    assert worker.exit_status is None
    assert {own_bench.computed_counts()[seed] for seed in wanted} == {1}


@pytest.fixture
def second(own_bench: Bench) -> Iterator[Server]:
    """A replica of the test's Valkey."""
    server = start_valkey(own_bench.folder / "second", own_bench.folder)
    with redis.Redis(port=server.port) as replica:
        replica.replicaof("127.0.0.1", own_bench.valkey.port)
        wait_until(lambda: replica.info("replication")["master_link_status"] == "up", "a replica")
    yield server
    server.process.stop()


@pytest.mark.parametrize("old_primary", ["a replica", "fenced"])
def test_after_a_failover_behind_one_address_the_work_goes_on_at_the_new_primary(
    own_bench: Bench, seeds: Fresh, proxy: Proxy, second: Server, old_primary: str
) -> None:
    """The old primary lives on and closes no connection."""
    worker = own_bench.worker(Plan(ms_per_seed=10), port=proxy.port)
    job = own_bench.client.submit(seeds(120))
    wait_until(lambda: own_bench.client.get(job.id).counts.done >= 8, "a beginning")
    proxy.target = second.port
    old, new = own_bench.redis, connect(f"redis://127.0.0.1:{second.port}/0")
    if old_primary == "fenced":
        old.config_set("min-replicas-to-write", 9)
        offset = old.info("replication")["master_repl_offset"]
        wait_until(lambda: new.info("replication")["slave_repl_offset"] >= offset, "a replica that has all")
        new.replicaof("NO", "ONE")
    else:
        old.execute_command("FAILOVER")
    own_bench.redis = new
    with Client(f"redis://127.0.0.1:{second.port}/0") as client:
        own_bench.check(client.get(job.id), timeout_s=30)
    assert worker.exit_status is None
    old.close()


@pytest.mark.parametrize("down_s", [4, pytest.param(30, marks=SLOW), pytest.param(180, marks=SLOW)])
def test_an_object_store_that_is_away_costs_time_and_no_computation(
    own_bench: Bench, seeds: Fresh, down_s: float
) -> None:
    wanted = seeds(200)
    worker = own_bench.worker(Plan(ms_per_seed=5))
    job = own_bench.client.submit(wanted)
    wait_until(lambda: own_bench.client.get(job.id).counts.done >= 20, "a beginning")
    own_bench.kill_s3()
    time.sleep(down_s)
    assert own_bench.held_by(worker) <= 4 * 32 / 4, "the seeds of four batches, in messages of four"
    own_bench.start_s3()
    before = own_bench.client.get(job.id).counts.done
    assert wait_until(lambda: own_bench.client.get(job.id).counts.done > before, "an upload") < 6
    own_bench.check(job)
    assert {own_bench.computed_counts()[seed] for seed in wanted} == {1}


def test_after_its_patience_a_chunk_goes_back_without_blame_and_is_not_computed_before_the_store_is_back(
    own_bench: Bench, seeds: Fresh
) -> None:
    wanted = seeds(8)
    own_bench.worker(SEEDMILL_S3_PATIENCE_S="1")
    own_bench.kill_s3()
    job = own_bench.client.submit(wanted)
    time.sleep(7)
    assert own_bench.client.get(job.id).counts.failed == 0
    own_bench.start_s3()
    own_bench.check(job)
    assert {own_bench.computed_counts()[seed] for seed in wanted} <= {1, 2}, "once, and once more when it was back"


def test_sigterm_while_the_object_store_is_away_gives_everything_back_in_seconds(
    own_bench: Bench, seeds: Fresh
) -> None:
    worker = own_bench.worker()
    job = own_bench.client.submit(seeds(40))
    own_bench.kill_s3()
    time.sleep(1)
    started = time.monotonic()
    assert worker.stop(grace_s=20) == 0
    assert time.monotonic() - started < 6
    seen = own_bench.client.queue()
    assert (seen.held, seen.waiting * 4) == (0, own_bench.client.get(job.id).counts.queued)
    own_bench.start_s3()
    own_bench.worker()
    own_bench.check(job)


def test_sigterm_while_redis_is_away_ends_within_the_drain_and_the_work_goes_on_elsewhere(
    own_bench: Bench, seeds: Fresh
) -> None:
    worker = own_bench.worker(Plan(ms_per_seed=10), SEEDMILL_DRAIN_TIMEOUT_S="3", SEEDMILL_LEASE_S="5")
    job = own_bench.client.submit(seeds(80))
    wait_until(lambda: own_bench.client.get(job.id).counts.done >= 8, "a beginning")
    own_bench.kill_valkey()
    time.sleep(0.5)
    worker.signal(signal.SIGTERM)
    assert wait_until(lambda: worker.exit_status is not None, "its end", 40) < 25
    own_bench.start_valkey()
    own_bench.worker()
    own_bench.check(job)


@pytest.mark.parametrize("kind", ["reset", "held", "silent"])
def test_a_network_that_breaks_between_worker_and_redis_costs_nothing(
    own_bench: Bench, proxy: Proxy, seeds: Fresh, kind: str, torture: bool
) -> None:
    wanted = seeds(240)
    worker = own_bench.worker(Plan(ms_per_seed=10), port=proxy.port)
    job = own_bench.client.submit(wanted)
    wait_until(lambda: own_bench.client.get(job.id).counts.done >= 20, "a beginning")
    cut_s = 15 if torture else 3
    if kind == "reset":
        proxy.refuse = True
        proxy.reset()
        time.sleep(cut_s)
        proxy.refuse = False
    elif kind == "held":
        proxy.hold = True
        time.sleep(cut_s)
        proxy.hold = False
    else:
        proxy.forget()
    before = own_bench.client.get(job.id).counts.done
    if before < 240:
        assert wait_until(lambda: own_bench.client.get(job.id).counts.done > before, "work again") < 30
    own_bench.check(job)
    assert worker.exit_status is None
    assert own_bench.dead_letters() == 0


def test_a_reply_that_never_arrives_costs_no_message(
    own_bench: Bench, proxy: Proxy, seeds: Fresh, torture: bool
) -> None:
    own_bench.worker(port=proxy.port)
    time.sleep(1)
    for _ in range(8 if torture else 2):
        proxy.hold_replies = True
        job = own_bench.client.submit(seeds(4))
        time.sleep(0.3)
        proxy.reset()
        proxy.hold_replies = False
        job.wait(15)
        own_bench.check(job)


def test_the_same_lost_reply_costs_a_stock_worker_its_message(own_bench: Bench, proxy: Proxy, tmp_path: Path) -> None:
    """The negative control: without it, the test before would prove nothing."""
    ran = tmp_path / "ran"
    ran.touch()
    url = own_bench.endpoints.redis_url
    through = f"redis://127.0.0.1:{proxy.port}/0"
    argv = [sys.executable, "-m", "tests.torture.stock", through, str(ran)]
    worker = Process("the stock worker", argv, log=tmp_path / "stock.log")
    own_bench.workers.append(worker)
    worker.wait_ready(lambda: "ready" in worker.output(), timeout_s=30)
    app = stock.build(url)
    app.send_task(stock.TASK, args=[0, 0.0])
    wait_until(lambda: ran.read_text(), "a first task", 15)
    time.sleep(1.5)
    proxy.hold_replies = True
    app.send_task(stock.TASK, args=[1, 0.0])
    wait_until(lambda: not own_bench.redis.llen(stock.QUEUE), "the message taken", 15)
    proxy.reset()
    proxy.hold_replies = False
    time.sleep(1)
    app.send_task(stock.TASK, args=[2, 0.0])
    wait_until(lambda: "2" in ran.read_text(), "a later task", 60)
    app.close()
    wait_until(lambda: not own_bench.redis.hlen("unacked"), "its acknowledgement", 15)
    assert "1" not in ran.read_text().split()
    assert own_bench.redis.llen(stock.QUEUE) == 0, "it is nowhere any more"


def test_passwords_are_in_no_log_whatever_fails(own_bench: Bench, seeds: Fresh) -> None:
    secret = "hush-hush-4711"  # of this test
    rules = ["~*", "&*", "+@all"]
    own_bench.redis.execute_command("ACL", "SETUSER", "mill", "on", f">{secret}", *rules)
    url = own_bench.endpoints.redis_url.replace("redis://", f"redis://mill:{secret}@")
    worker = own_bench.worker(SEEDMILL_REDIS_URL=url, SEEDMILL_LOG_LEVEL="debug", SEEDMILL_DRAIN_TIMEOUT_S="1")
    job = own_bench.client.submit(seeds(40))
    own_bench.check(job)
    own_bench.redis.lpush("seedmill", "nonsense")
    own_bench.kill_s3()
    own_bench.client.submit(seeds(4))
    time.sleep(1)
    own_bench.kill_valkey()
    time.sleep(3)
    worker.stop(grace_s=20)
    output = worker.output()
    assert "mill" in output
    for word in (secret, own_bench.endpoints.secret_key):
        assert word not in output


def test_everything_works_over_tls_and_a_stranger_is_not_trusted(
    own_bench: Bench, seeds: Fresh, tmp_path: Path
) -> None:
    own_bench.redis.execute_command("ACL", "SETUSER", "mill", "on", ">pw", "~*", "&*", "+@all")
    with tls_in_front_of(own_bench.valkey.port, tmp_path) as (port, ca_file):
        stranger = f"rediss://mill:pw@127.0.0.1:{port}/0"
        url = f"{stranger}?ssl_ca_certs={ca_file}"
        with Client(stranger) as client, pytest.raises(QueueUnreachable, match="certificate"):
            client.submit(1)
        victim = own_bench.worker(Plan(ms_per_seed=50), SEEDMILL_REDIS_URL=url)
        with Client(url, chunk_size=4) as client:
            job = client.submit(seeds(60))
            wait_until(lambda: client.get(job.id).counts.done >= 8, "a beginning")
            own_bench.worker(SEEDMILL_REDIS_URL=url)
            assert own_bench.redelivered_s(own_bench.kill(victim)) < 5
            own_bench.check(job)
        assert own_bench.workers[-1].stop(grace_s=20) == 0


def test_a_worker_whose_user_may_not_see_connections_works_all_the_same(own_bench: Bench, seeds: Fresh) -> None:
    rights = "~* &* +@all -@dangerous -client"
    own_bench.redis.execute_command("ACL", "SETUSER", "least", "on", ">pw", *rights.split())
    with Client(own_bench.endpoints.redis_url.replace("redis://", "redis://least:pw@")) as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client._redis.client_list()
        url = client.settings.redis_url
    victim = own_bench.worker(Plan(ms_per_seed=50), SEEDMILL_REDIS_URL=url, SEEDMILL_LEASE_S="5")
    job = own_bench.client.submit(seeds(60))
    wait_until(lambda: own_bench.held_by(victim), "a busy worker")
    own_bench.worker(SEEDMILL_REDIS_URL=url, SEEDMILL_LEASE_S="5")
    death = own_bench.kill(victim)
    assert own_bench.redelivered_s(death) < 15
    own_bench.check(job)


def test_deleted_messages_are_found_by_the_workers_themselves(own_bench: Bench, seeds: Fresh) -> None:
    job = own_bench.client.submit(seeds(40))
    own_bench.redis.delete("seedmill", "seedmill\x06\x169")
    own_bench.worker()
    own_bench.check(job, timeout_s=80)
    assert not own_bench.redis.exists(DEAD_KEY)


def test_objects_torn_by_a_crash_of_the_store_are_written_again(own_bench: Bench, seeds: Fresh) -> None:
    wanted = seeds(4)  # one chunk, so that none of it is recorded when the worker dies
    victim = own_bench.worker(Plan(kill_at="metadata put", kill_hit=4), wait=False)
    job = own_bench.client.submit(wanted)
    wait_until(lambda: victim.exit_status is not None, "its death")
    own_bench.kill_s3()
    published = sorted((own_bench.folder / "s3").rglob("*.json"))
    pictures = sorted((own_bench.folder / "s3").rglob("*.png"))
    published[0].write_bytes(published[0].read_bytes()[:30])
    pictures[1].write_bytes(pictures[1].read_bytes()[:-20])
    own_bench.start_s3()
    own_bench.worker()
    own_bench.check(job)
    kill(own_bench.workers[-1])


@pytest.mark.parametrize("seconds", [30, pytest.param(60, marks=SLOW)])
def test_chaos_loses_nothing(own_bench: Bench, seconds: float) -> None:
    figures = soak(own_bench, seconds, seed=1)
    print(figures)
    assert (figures["lost"], figures["torn"], figures["failed_innocents"]) == (0, 0, 0), figures
    assert figures["kills"] >= seconds / 12
    assert figures["outages"] == 4
    assert (figures["left_over_in_redis"], figures["leaks"]) == (0, [])
    assert figures["watched"]["worker"]["looks"] > 0, "the worker that lives through it was looked at"
