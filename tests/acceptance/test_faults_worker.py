"""Workers that die, hang, freeze and are told to stop: every seed still has its fate, and its objects are whole.

``make torture`` runs these in their full form.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence

import pytest

from producer.client import Job
from producer.contract import JobStatus, Priority, facts_key
from producer.job import Counts
from tests.torture.bench import Bench, wait_until
from tests.torture.stand_in import STAGES, Plan
from worker.service import EXIT_HUNG

pytestmark = pytest.mark.usefixtures("no_worker_left")

Fresh = Callable[[int], range]

REDELIVERY_S = 5.0
"""What is promised of a worker whose connection is seen to close."""

LATEST_S = 30.0
"""What is promised of any other."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_killed_at_any_stage_loses_nothing(bench: Bench, seeds: Fresh, stage: str) -> None:
    victim = bench.worker(Plan(kill_at=stage, kill_hit=2), wait=False, SEEDMILL_CONCURRENCY="8")
    job = bench.client.submit(seeds(60))
    wait_until(lambda: victim.exit_status is not None, "its death")
    ended = int(bench.redis.hget(f"seedmill:job:{job.id}", "ended"))
    assert ended + bench.messages() >= job.record.chunks, "what has not ended is in the queue or in a hash"
    bench.worker()
    bench.check(job)


def acquit(bench: Bench, job: Job) -> None:
    """Wait for a job under a storm of kills, and replay what was condemned in it: that is at hand, and then succeeds.

    Where workers live for less than a second, a seed may be at work alone at two deaths in a row, and is blamed.
    """
    job.wait(600, check=False)
    letters = bench.client.dead_letters()
    failures = {failure["seed"]: failure["type"] for letter in letters for failure in letter.failures}
    assert len(failures) == job.counts.failed < job.counts.total / 100, failures
    assert set(failures.values()) <= {"SeedKillsWorker"}
    for letter in letters:
        bench.client.replay(letter.id)


def test_workers_killed_at_any_time_lose_nothing(bench: Bench, seeds: Fresh, torture: bool) -> None:
    rng = random.Random(1)
    kills = 60 if torture else 4
    job = bench.client.submit(seeds(kills * 100))
    for _ in range(kills):
        worker = bench.worker(Plan(ms_per_seed=5))
        time.sleep(rng.uniform(0, 0.8))
        bench.kill(worker)
        ended = int(bench.redis.hget(f"seedmill:job:{job.id}", "ended"))
        assert ended + bench.messages() >= job.record.chunks
    bench.worker(Plan(ms_per_seed=1))
    acquit(bench, job)
    bench.check(job)


def test_workers_killed_just_after_a_batch_lose_nothing(bench: Bench, seeds: Fresh, torture: bool) -> None:
    rng = random.Random(2)
    kills = 60 if torture else 3
    job = bench.client.submit(seeds(kills * 100))
    for _ in range(kills):
        worker = bench.worker(Plan(ms_per_seed=2))
        before = bench.client.get(job.id).counts.done
        wait_until(lambda: bench.client.get(job.id).counts.done > before, "a chunk's end")  # noqa: B023  # used at once
        time.sleep(rng.uniform(0, 0.03))
        bench.kill(worker)
        ended = int(bench.redis.hget(f"seedmill:job:{job.id}", "ended"))
        assert ended + bench.messages() >= job.record.chunks
    bench.worker(Plan(ms_per_seed=1))
    acquit(bench, job)
    bench.check(job)


def test_what_a_killed_worker_held_is_in_the_queue_again_within_seconds(bench: Bench, seeds: Fresh) -> None:
    victim = bench.worker(Plan(ms_per_seed=50), SEEDMILL_CONCURRENCY="8")
    job = bench.client.submit(seeds(100))
    wait_until(lambda: bench.held_by(victim) == 8, "a full worker")
    bench.worker()
    death = bench.kill(victim)
    assert death.held > 0
    assert bench.redelivered_s(death) < REDELIVERY_S
    bench.check(job)


def test_two_workers_that_die_at_once_stop_nobody(bench: Bench, seeds: Fresh) -> None:
    victims = [bench.worker(Plan(ms_per_seed=50), SEEDMILL_CONCURRENCY="8") for _ in range(2)]
    job = bench.client.submit(seeds(120))
    wait_until(lambda: all(bench.held_by(victim) for victim in victims), "two busy workers")
    deaths = [bench.kill(victim) for victim in victims]
    bench.worker()
    assert max(bench.redelivered_s(death) for death in deaths) < REDELIVERY_S + 2, "its own start included"
    bench.check(job)


def test_a_frozen_workers_chunks_go_to_another_and_its_late_results_do_no_harm(bench: Bench, seeds: Fresh) -> None:
    frozen = bench.worker(Plan(ms_per_seed=50), SEEDMILL_LEASE_S="5", SEEDMILL_CONCURRENCY="8")
    job = bench.client.submit(seeds(48))
    wait_until(lambda: bench.held_by(frozen) == 8, "a full worker")
    os.kill(frozen.pid, signal.SIGSTOP)
    started, worker_id = time.monotonic(), bench.id_of(frozen)
    other = bench.worker(Plan(ms_per_seed=5), SEEDMILL_LEASE_S="5")
    wait_until(lambda: not bench.redis.exists(f"seedmill:held:{worker_id}"), "redelivery", LATEST_S)
    assert time.monotonic() - started < LATEST_S
    bench.check(job)
    os.kill(frozen.pid, signal.SIGCONT)
    again = bench.client.submit(seeds(40))
    bench.check(again)
    assert bench.client.get(job.id).counts == Counts(48, 0, 0, 48, 0, 0)
    assert (frozen.exit_status, other.exit_status) == (None, None)


def test_work_longer_than_the_lease_is_done_once(bench: Bench, seeds: Fresh) -> None:
    for _ in range(2):
        bench.worker(Plan(ms_per_seed=2000), SEEDMILL_LEASE_S="5")
    wanted = seeds(4)
    bench.check(bench.client.submit(wanted))
    assert [bench.computed_counts()[seed] for seed in wanted] == [1] * 4


def test_a_device_that_hangs_ends_its_worker_and_the_work_goes_on_elsewhere(bench: Bench, seeds: Fresh) -> None:
    wanted = seeds(24)
    bad = wanted[9]
    job = bench.client.submit(wanted)
    for _ in range(6):
        worker = bench.worker(Plan(hangs=[bad]), SEEDMILL_DEVICE_TIMEOUT_S="1")
        wait_until(lambda: worker.exit_status is not None or bench.client.get(job.id).status.is_terminal, "an end")  # noqa: B023
        if worker.exit_status is None:
            break
        assert worker.exit_status == EXIT_HUNG
    bench.check(job, failed=[bad])
    assert bench.dead_letters() == 1


def all_ended(bench: Bench, jobs: Sequence[Job]) -> bool:
    return all(bench.client.get(job.id).status.is_terminal for job in jobs)


def test_a_seed_that_kills_its_worker_fails_alone_after_three_deaths(bench: Bench, seeds: Fresh) -> None:
    """Although the seed before it is begun again each time, since it fails and so is never published."""
    poison, innocent = seeds(8), seeds(80)
    dull, bad = poison[4:6]
    jobs = [bench.client.submit(poison), bench.client.submit(innocent)]
    deaths = 0
    while not all_ended(bench, jobs):
        worker = bench.worker(Plan(kills=[bad], raises=[dull]))
        wait_until(lambda: worker.exit_status is not None or all_ended(bench, jobs), "an end")  # noqa: B023
        deaths += worker.exit_status is not None
        assert deaths <= 4
    assert deaths == 3
    bench.check(jobs[0], failed=[dull, bad])
    bench.check(jobs[1])
    (letter,) = bench.client.dead_letters()
    failures = [(failure["seed"], failure["type"]) for failure in letter.failures]
    assert failures == [(dull, "ValueError"), (bad, "SeedKillsWorker")]


def test_seeds_that_end_just_before_each_death_are_not_blamed_and_nor_are_those_that_follow(
    bench: Bench, seeds: Fresh
) -> None:
    job = bench.client.submit(seeds(4))
    deaths = 0
    while not all_ended(bench, [job]):
        worker = bench.worker(Plan(kill_at="metadata put"), SEEDMILL_UPLOAD_THREADS="1")
        wait_until(lambda: worker.exit_status is not None or all_ended(bench, [job]), "an end")  # noqa: B023
        deaths += worker.exit_status is not None
        assert deaths <= 4
    assert deaths == 4
    bench.check(job)


@pytest.mark.parametrize("kind", ["exits", "exhausts", "raises"])
def test_what_a_model_raises_ends_in_a_state_and_takes_no_place_for_ever(bench: Bench, seeds: Fresh, kind: str) -> None:
    wanted = seeds(40)
    bad = wanted[3::4]
    worker = bench.worker(Plan(**{kind: list(bad)}))  # type: ignore[arg-type]
    bench.check(bench.client.submit(wanted), failed=bad)
    bench.check(bench.client.submit(seeds(64)))
    assert worker.exit_status is None
    assert bench.dead_letters() == 10


def test_sigterm_finishes_what_was_taken_and_tells_the_order(bench: Bench, seeds: Fresh) -> None:
    wanted = seeds(200)
    worker = bench.worker(Plan(ms_per_seed=10))
    job = bench.client.submit(wanted)
    wait_until(lambda: bench.client.get(job.id).counts.done >= 8, "a beginning")
    assert worker.stop(grace_s=20) == 0
    seen = bench.client.get(job.id)
    assert seen.counts.running == 0
    assert 0 < seen.counts.queued == 4 * bench.client.queue().waiting
    assert bench.client.queue().held == 0
    actions = [line["action"] for line in bench.actions(worker)]
    assert actions.index("worker_stopping") < actions.index("worker_stopped")
    assert "messages_given_back" not in actions
    bench.worker()
    bench.check(job)
    assert {bench.computed_counts()[seed] for seed in wanted} == {1}


def test_what_is_not_finished_in_time_is_given_back(bench: Bench, seeds: Fresh) -> None:
    worker = bench.worker(Plan(ms_per_seed=1500), SEEDMILL_DRAIN_TIMEOUT_S="1")
    job = bench.client.submit(seeds(24))
    wait_until(lambda: bench.held_by(worker) == 6, "a worker that has all")
    started = time.monotonic()
    assert worker.stop(grace_s=20) in (0, EXIT_HUNG), "not by the timer of last resort"
    assert time.monotonic() - started < 12
    assert bench.client.queue().held == 0
    assert bench.client.queue().waiting > 0
    bench.worker()
    bench.check(job)


def test_a_second_sigterm_leaves_at_once_and_gives_everything_back(bench: Bench, seeds: Fresh) -> None:
    worker = bench.worker(Plan(ms_per_seed=1500))
    job = bench.client.submit(seeds(24))
    wait_until(lambda: bench.client.get(job.id).counts.running == 24, "a worker that is at all")
    for _ in range(2):
        worker.signal(signal.SIGTERM)
        time.sleep(0.3)
    assert wait_until(lambda: worker.exit_status is not None, "its end", 5) < 3
    assert (bench.client.queue().waiting, bench.client.queue().held) == (6, 0)
    assert bench.client.get(job.id).counts.running == 0
    begun = bench.redis.hgetall(facts_key(job.id))
    assert {value for name, value in begun.items() if name.endswith(":open")} == {"0"}, "none is blamed for it"
    bench.worker()
    bench.check(job)


def test_sigterm_and_then_sigkill_lose_nothing_and_repeat_only_what_had_not_ended(bench: Bench, seeds: Fresh) -> None:
    worker = bench.worker(Plan(ms_per_seed=300))
    wanted = seeds(24)
    job = bench.client.submit(wanted)
    wait_until(lambda: bench.held_by(worker) == 6, "a worker that has all")
    worker.signal(signal.SIGTERM)
    time.sleep(2)
    ended = {result.seed for result in bench.client.get(job.id).results()}
    bench.kill(worker)
    bench.worker()
    bench.check(job)
    assert all(bench.computed_counts()[seed] == 1 for seed in ended)


def test_a_running_job_is_canceled_within_a_second_and_its_neighbour_goes_on(bench: Bench, seeds: Fresh) -> None:
    worker = bench.worker(Plan(ms_per_seed=100), SEEDMILL_MAX_BATCH="2")
    unwanted = bench.client.submit(seeds(40), priority=Priority.INTERACTIVE)
    wanted = bench.client.submit(seeds(4), priority=Priority.BULK)
    wait_until(lambda: bench.client.get(unwanted.id).counts.running, "running seeds")
    unwanted.cancel()
    assert unwanted.status is JobStatus.CANCELED
    assert wait_until(lambda: bench.client.get(unwanted.id).counts.running == 0, "no running seed", 5) < 1.0
    computed = sum(bench.computed_counts().values())
    bench.check(wanted)
    assert sum(bench.computed_counts().values()) - computed <= 4 + 2, "the batch at work, and nothing after it"
    seen = unwanted.refresh().counts
    assert seen.canceled == 40 - seen.succeeded > 20
    assert worker.exit_status is None


def test_an_interactive_job_overtakes_a_bulk_one(bench: Bench, seeds: Fresh) -> None:
    bulk = bench.client.submit(seeds(400))
    bench.worker(Plan(ms_per_seed=5))
    wait_until(lambda: bench.client.get(bulk.id).counts.done, "a beginning")
    bench.client.submit(seeds(1)).wait(10)
    assert bench.client.get(bulk.id).counts.queued > 100
    bench.check(bulk)


def test_many_small_messages_do_not_wait_for_one_another(bench: Bench, seeds: Fresh) -> None:
    """Guards against a kombu whose event loop is not woken by late acknowledgements: it took 1.1 messages a second."""
    bench.worker(Plan(ms_per_seed=0))
    jobs = [bench.client.submit(seed) for seed in seeds(200)]
    started = time.monotonic()
    for job in jobs:
        job.wait(60)
    assert time.monotonic() - started < 20
