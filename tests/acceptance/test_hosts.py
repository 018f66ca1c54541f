"""Workers on several hosts, of which one is cut off and one loses its power, as tests/torture/hosts_run.py has it.

The hosts are network namespaces; without the rights to make them these tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.report import README
from tests.torture.bench import wait_until
from tests.torture.hosts import NoHosts, ip, namespace, running_hosts
from tests.torture.hosts_bench import IN_HAND, SERVERS, HostsBench, running_hosts_bench
from tests.torture.hosts_run import FULL, RESULTS, SMALL, B, C, D, Figures, Scale, markdown, put_into, tell
from worker.local.process import Process

LATE_S = 10.0
"""Seconds after the end of a lease until which its worker's messages are in the queue again, on a busy machine."""


@contextmanager
def skipping() -> Iterator[None]:
    """Skip a test where no hosts can be made."""
    try:
        yield
    except NoHosts as error:
        pytest.skip(str(error))


@pytest.fixture(
    scope="module", params=[pytest.param(SMALL, id="small"), pytest.param(FULL, id="full", marks=pytest.mark.slow)]
)
def figures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """What a story has shown."""
    scale: Scale = request.param
    with skipping():
        return tell(tmp_path_factory.mktemp("hosts"), scale)


def test_a_host_cut_off_and_one_without_power_lose_and_tear_nothing(figures: Figures) -> None:
    assert figures.cut_s > figures.lease_s
    assert (figures.lost, figures.failed, figures.torn) == (0, 0, 0)


def test_hosts_that_are_equally_fast_share_the_work(figures: Figures) -> None:
    assert 0.35 < figures.share_b < 0.65


def test_what_a_silent_host_held_is_in_the_queue_again_when_its_lease_is_over(figures: Figures) -> None:
    assert figures.cut_redelivered_s < figures.lease_s + LATE_S
    assert figures.off_redelivered_s < figures.lease_s + LATE_S


def test_a_host_that_is_back_works_again(figures: Figures) -> None:
    assert figures.back_s < LATE_S


def test_no_more_is_computed_twice_than_the_two_hosts_had_in_hand(figures: Figures) -> None:
    assert figures.computed_twice <= 2 * IN_HAND


def test_two_hosts_make_the_same_bytes_of_a_seed(figures: Figures) -> None:
    assert figures.compared > 0
    assert figures.differing == 0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[HostsBench]:
    """Servers on one host, and three more."""
    with skipping(), running_hosts_bench(tmp_path, B, C, D, lease_s=SMALL.lease_s) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("cut_s", [3.0, 12.0])
def test_an_idle_host_whose_connections_redis_has_dropped_meanwhile_works_again(
    bench: HostsBench, cut_s: float
) -> None:
    """It waits for an answer then that will never come, and nothing tells it so."""
    bench.worker_on(B, 1)
    bench.check(bench.client.submit(range(8)))
    bench.hosts.cut(B)
    address = f"{bench.hosts.addresses[B]}:"
    known = [entry["addr"] for entry in bench.redis.client_list() if entry["addr"].startswith(address)]
    for connection in known:
        bench.redis.client_kill(connection)
    time.sleep(cut_s)
    bench.hosts.heal(B)
    assert known
    bench.check(bench.client.submit(range(8, 16)), timeout_s=LATE_S + SMALL.lease_s)


@pytest.mark.slow
def test_servers_cut_off_for_longer_than_every_lease_cost_time_alone(bench: HostsBench) -> None:
    """Both workers fall silent at once, and the first that is back must not take the other for dead."""
    workers = [bench.worker_on(host, 10) for host in (B, C)]
    seeds = range(600)
    client = bench.submit_on(D, "job", seeds)
    wait_until(lambda: all(bench.held_by(worker) for worker in workers), "two busy workers")
    bench.hosts.cut(SERVERS)
    time.sleep(2 * SMALL.lease_s)
    bench.hosts.heal(SERVERS)
    wait_until(lambda: client.exit_status is not None, "the client's end")
    assert client.exit_status == 0, client.output()[-2000:]
    bench.check(bench.client.get("job"))
    assert {bench.computed_counts()[seed] for seed in seeds} == {1}
    assert not any('"worker_swept"' in worker.output() for worker in workers)


def left() -> list[str]:
    """Return what there is of the hosts of this process: namespaces, and the cable to them."""
    return re.findall(rf"^{namespace('.*')}|mill{os.getpid()}\b", ip("netns", "list") + ip("link"), re.MULTILINE)


def test_hosts_leave_nothing_behind_when_a_test_fails_on_them(tmp_path: Path) -> None:
    ran: list[Process] = []

    def fail() -> None:
        with running_hosts("one", "two") as hosts:
            ran.append(Process("a sleeper", [*hosts.within("one"), "sleep", "600"], log=tmp_path / "log"))
            wait_until(lambda: ip("netns", "pids", namespace("one")).strip() == str(ran[0].pid), "it runs there")
            assert len(left()) == 4
            raise ZeroDivisionError

    with skipping(), pytest.raises(ZeroDivisionError):
        fail()
    wait_until(lambda: ran[0].exit_status is not None, "the end of what ran there")
    assert left() == []


def test_without_the_program_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(NoHosts, match="install iproute2"), running_hosts("one"):
        pass


def test_the_readme_has_the_figures_of_the_whole_run() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    readme = README.read_text(encoding="utf-8")
    assert put_into(readme, results) == readme
    assert results["figures"]["seeds"] == FULL.seeds
    disturbed = markdown({**results, "others_cpu_share": 0.46})
    assert disturbed.startswith("Other processes took 46% of the cores meanwhile.\n\n|")
