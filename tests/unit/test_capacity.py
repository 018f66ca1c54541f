"""The simulation of capacity and its document; and that the calls which it costs are those that Redis is asked."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Any

import pytest
import simpy

from producer import Client, JobStatus
from tests.benchmarks.capacity import calls, check, living, predict, report, runs
from tests.benchmarks.capacity.costs import Files, told
from tests.benchmarks.capacity.queue import BULK, URGENT, Job, Queue
from tests.benchmarks.capacity.world import Costs, Device, Host, RedisCosts, Setup

RESULTS: dict[str, Any] = json.loads(report.RESULTS.read_text(encoding="utf-8"))
NOTHING = dict.fromkeys(("submit", "poll", "take", "start", "finish", "finish lone", "wake"), 0.0)
FREE_REDIS = RedisCosts(NOTHING, {}, {}, beat_ms=0, sweep_ms=0, sweep_each_ms=0)
FREE = Costs(
    FREE_REDIS,
    **dict.fromkeys(("message_ms", "python_ms", "native_ms", "submit_ms", "poll_ms"), 0.0),
    **dict.fromkeys(("store_cpu_ms", "put_image_ms", "put_metadata_ms"), 0.0),
)
DEVICE = Device(((0, 10.0), (100, 110.0)))


def setup(device: Device = DEVICE, **costs: Any) -> Setup:
    return Setup(dataclasses.replace(FREE, **costs), device)


def watched(one: Setup) -> runs.Run:
    return runs.endless(one, warm_ms=1000, watched_ms=4000)


def test_where_nothing_else_takes_time_the_device_is_the_limit() -> None:
    run = watched(setup())
    assert run.seeds_per_s == pytest.approx(32 / 0.042, rel=0.02)
    assert run.bottleneck == "device"


def test_uploading_threads_are_the_limit_where_the_store_is_far() -> None:
    run = watched(setup(put_image_ms=100, put_metadata_ms=100))
    assert run.seeds_per_s == pytest.approx(8 / 0.2, rel=0.1)
    assert run.bottleneck == "uploading threads"


def test_an_interpreter_is_the_limit_of_a_worker_and_not_of_two() -> None:
    one = setup(python_ms=5)
    run = watched(dataclasses.replace(one, cores=16))
    assert run.seeds_per_s == pytest.approx(200, rel=0.02)
    assert run.bottleneck == "interpreter of a worker"
    assert watched(dataclasses.replace(one, cores=16, workers=2)).seeds_per_s == pytest.approx(400, rel=0.02)


def test_one_redis_is_the_limit_of_any_number_of_devices() -> None:
    redis = dataclasses.replace(FREE_REDIS, base_ms={**NOTHING, "finish": 10.0})
    one = dataclasses.replace(setup(), costs=dataclasses.replace(FREE, redis=redis), devices=8, grain=8)
    run = watched(one)
    assert run.seeds_per_s == pytest.approx(100 * 32, rel=0.02)
    assert run.bottleneck == "Redis"


def test_every_worker_has_a_heartbeat_and_one_at_a_time_looks_after_all() -> None:
    redis = dataclasses.replace(FREE_REDIS, beat_ms=1.0, sweep_ms=2.0, sweep_each_ms=0.5)
    idle = Device(((0, 1000.0), (100, 1000.0)))
    one = dataclasses.replace(setup(idle), costs=dataclasses.replace(FREE, redis=redis), devices=25)
    run = runs.endless(one, warm_ms=1000, watched_ms=9200)
    expected = predict.together(1.0, 2.0 + 0.5 * 25, 25)
    assert expected == pytest.approx(25 + (2 + 0.5 * 25) / 0.92)
    assert run.shares["Redis"] == pytest.approx(expected / 1000, rel=0.06)  # a look more or less


def test_a_worker_alone_looks_after_all_with_each_heartbeat() -> None:
    assert predict.together(3.0, 5.0, 1) == 8.0


def test_cores_are_shared_with_those_who_take_a_part_of_them() -> None:
    env = simpy.Environment()
    host = Host(env, cores=1, others_share=0.5)
    done = [env.process(host.work(100)) for _ in range(2)]
    env.run(env.all_of(done))
    assert env.now == pytest.approx(400, rel=0.05)


def test_a_lone_seed_takes_what_its_steps_take() -> None:
    one = dataclasses.replace(setup(message_ms=2, python_ms=1, native_ms=1, submit_ms=1), rtt_ms=2)
    steps = 1 + 2 + 2 + 1 + 2 + 11 + 1 + 1 + 1 + 2  # submit, take, message, start, device, seed, message, finish
    assert runs.lone_seeds(one, 4).wait_ms() == pytest.approx(steps, abs=6)  # the wake-up, the last polls


def test_tenants_take_turns_and_bulk_waits_for_what_is_urgent() -> None:
    env = simpy.Environment()
    queue = Queue(env)
    jobs = [Job(f"{n}", 1, 1, env.event(), tenant="a") for n in range(100)]
    jobs += [Job("b", 64, 1, env.event(), tenant="b"), Job("bulk", 640, 32, env.event(), lane=BULK)]
    for job in jobs:
        queue.put(job)
    first = queue.take(128, 1000, 128, 1)
    assert Counter(message.job.tenant for message in first) == {"a": 64, "b": 64}
    assert all(message.is_urgent for message in first)
    assert [message.job.lane for message in queue.take(3, 1000, 128, 8)] == [BULK] * 3
    assert queue.take(3, 0, 128, 9)[0].job.lane == URGENT


def test_what_the_document_says_is_what_was_measured_and_simulated() -> None:
    text = report.DOCUMENT.read_text(encoding="utf-8")
    assert report.put_into(text, RESULTS) == text
    assert not RESULTS["quick"]


def test_the_simulation_says_the_same_again() -> None:
    files = Files.load(RESULTS)
    costs = told(files, RESULTS["told"])
    assert check.told(files, costs) == RESULTS["told"], "files have changed: make bench-capacity BENCH=--simulate"
    assert check.held_out(files, costs, RESULTS["points"][1:3]) == RESULTS["held_out"][:2]


def test_points_that_were_fitted_do_not_count_and_those_disturbed_count_apart() -> None:
    good = check.row("a", "b", check.SPEED, 100, 90)
    rows = [good, good | {"error": 9.0, "fitted": True}, good | {"error": 9.0, "others_cpu_share": 0.5}]
    quiet, disturbed = ({"points": 1, "median": error, "most": error} for error in (0.1, 9.0))
    assert check.errors(rows) == {"quiet": quiet, "disturbed": disturbed}
    assert check.errors(rows[1:2]) == {}


@pytest.mark.parametrize("load", [calls.Load(1, 4, 2), calls.Load(32, 1, 3)])
def test_the_calls_that_are_measured_take_jobs_to_their_end(load: calls.Load) -> None:
    with calls.running_bench() as bench, Client(bench.url) as client:
        rows = calls.Round(bench, load, 1).run()
        jobs = [client.get("job-1" if load.size > 1 else f"job-1-{n}") for n in range(1 if load.size > 1 else 8)]
    assert [row["call"] for row in rows] == ["submit", "take", "start", "poll", "finish"]
    assert all(job.status is JobStatus.SUCCEEDED for job in jobs)
    assert sum(job.counts.succeeded for job in jobs) == load.messages * load.size


def test_a_message_wakes_all_idle_workers() -> None:
    with calls.running_bench() as bench:
        assert living.waiting(bench, 5)["woken"] == 5
