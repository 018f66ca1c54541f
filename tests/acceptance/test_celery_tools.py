"""Celery's own tools on a real worker: inspect, control and events, from apps that know the broker alone."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError

from producer.contract import LANES, QUEUE, TASK_NAME, JobStatus
from producer.reconcile import reconcile
from tests.acceptance.remote import TIMEOUT_S, Monitor, ask, hears, name_of, start
from tests.monitoring import scrape, value
from tests.torture.bench import Bench, wait_until
from tests.torture.stand_in import Plan
from worker.local.process import Process, free_port
from worker.local.stack import SECRET_KEY
from worker.queue.control import MOST_IDS, NOT_HERE

pytestmark = pytest.mark.usefixtures("no_worker_left")

Fresh = Callable[[int], range]

PASSWORD = "correct-horse-battery"  # of a server that this test starts


@pytest.fixture
def monitor(app: Celery) -> Iterator[Monitor]:
    with Monitor(app) as monitor:
        yield monitor


def test_inspect_tells_what_a_worker_is_and_is_at(bench: Bench, app: Celery, seeds: Fresh) -> None:
    worker = start(bench, app, Plan(ms_per_seed=100), SEEDMILL_CONCURRENCY="8")
    job = bench.client.submit(seeds(12))
    wait_until(lambda: bench.client.get(job.id).counts.running == 12, "three chunks at work")
    assert ask(app, worker, "ping") == {"ok": "pong"}
    assert ask(app, worker, "registered") == [TASK_NAME]
    assert [queue["name"] for queue in ask(app, worker, "active_queues")] == [QUEUE]
    active = ask(app, worker, "active")
    assert {task["id"] for task in active} == {f"{job.id}.{n}" for n in range(3)}
    assert {task["name"] for task in active} == {TASK_NAME}
    assert all(task["worker_pid"] == worker.pid and task["time_start"] <= time.time() for task in active)
    assert ask(app, worker, "query_task", ids=[f"{job.id}.0"])[f"{job.id}.0"][0] == "active"
    assert ask(app, worker, "reserved") == ask(app, worker, "scheduled") == []
    stats = ask(app, worker, "stats")
    assert stats["pool"]["max-concurrency"] == 8
    assert stats["pool"]["processes"] == [worker.pid] == [stats["pid"]]
    assert (stats["broker"]["port"], stats["broker"]["virtual_host"]) == (bench.valkey.port, "0")
    assert stats["total"] == {TASK_NAME: 3}
    assert stats["seedmill"] == {"worker": bench.id_of(worker), "held": 3, "most_held": 8}
    bench.check(job)


def test_workers_on_one_host_have_names_of_their_own_and_the_name_that_is_set(bench: Bench, app: Celery) -> None:
    first, second = start(bench, app), start(bench, app)
    named = bench.worker(SEEDMILL_NODE_NAME="gpu0@%h")
    wait_until(lambda: len(app.control.ping()) == 3, "three answers")
    names = {name for answer in app.control.ping() for name in answer}
    assert names == {name_of(first), name_of(second), f"gpu0@{socket.gethostname()}"}
    assert named.exit_status is None


def test_no_answer_and_no_event_has_a_password_or_a_key(bench: Bench, monitor: Monitor, seeds: Fresh) -> None:
    bench.redis.execute_command("ACL", "SETUSER", "mill", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    url = bench.endpoints.redis_url.replace("//", f"//mill:{PASSWORD}@")
    app = Celery(broker=url, backend=url, set_as_current=False)
    worker = start(bench, app, SEEDMILL_REDIS_URL=url, SEEDMILL_TASK_EVENTS="true")
    job = bench.client.submit(seeds(4))
    bench.check(job)
    commands = ("conf", "stats", "report", "active_queues", "registered", "revoked", "clock", "ping")
    answers = {command: ask(app, worker, command) for command in commands}
    answers["all of conf"] = ask(app, worker, "conf", with_defaults=True)
    app.close()
    wait_until(lambda: "task-succeeded" in monitor.of(job.id), "the last event")
    text = json.dumps([answers, monitor.events], default=repr)
    assert "mill:********@" in answers["conf"]["broker_url"]
    assert "mill:********@" in answers["report"]["ok"]
    assert PASSWORD not in text
    assert SECRET_KEY not in text


def test_monitors_see_workers_come_live_and_go(bench: Bench, app: Celery, monitor: Monitor, seeds: Fresh) -> None:
    worker = start(bench, app)
    bench.check(bench.client.submit(seeds(4)))
    wait_until(lambda: any(beat["processed"] for beat in monitor.workers("worker-heartbeat")), "a heartbeat")
    worker.stop()
    wait_until(lambda: monitor.workers("worker-offline"), "its farewell")
    online, beat = monitor.workers("worker-online")[0], monitor.workers("worker-heartbeat")[-1]
    assert online["hostname"] == beat["hostname"] == name_of(worker)
    assert (beat["sw_ident"], beat["freq"], beat["active"], beat["processed"]) == ("py-celery", 2.0, 0, 1)
    assert (len(beat["loadavg"]), beat["pid"]) == (3, worker.pid)
    assert abs(beat["timestamp"] - time.time()) < 60
    assert not [event for event in monitor.events if event["type"].startswith("task-")], "nobody has asked for them"


def test_every_chunk_is_told_by_what_became_of_it(bench: Bench, app: Celery, monitor: Monitor, seeds: Fresh) -> None:
    good, bad, hungry = seeds(2), seeds(3), seeds(1)
    worker = start(bench, app, Plan(raises=[bad[1]], exhausts=list(hungry)))
    assert ask(app, worker, "enable_events") == {"ok": "task events enabled"}
    jobs = [bench.client.submit(part) for part in (good, bad, hungry)]
    refused = app.send_task(TASK_NAME, args=[[1, -2]])
    late = app.send_task(TASK_NAME, args=[[3]], expires=-5)
    wait_until(lambda: all(bench.client.get(job.id).status.is_terminal for job in jobs), "the end of the jobs")
    wait_until(lambda: "task-failed" in monitor.of(jobs[2].id), "the last event")
    begun = ["task-received", "task-started"]
    assert monitor.of(jobs[0].id) == [*begun, "task-succeeded"]
    assert monitor.of(jobs[1].id) == [*begun, "task-failed"]
    assert monitor.of(jobs[2].id) == [*begun, "task-retried", *begun, "task-retried", *begun, "task-failed"]
    assert monitor.of(refused.id) == [*begun, "task-failed"]
    assert monitor.of(late.id) == [*begun, "task-revoked"]
    ends: dict[str, Any] = {event.get("uuid", ""): event for event in monitor.events}
    assert ends[jobs[0].id]["runtime"] > 0
    assert "'succeeded': 2" in ends[jobs[0].id]["result"]
    assert ends[jobs[1].id]["exception"] == "ValueError('1 of 3 seeds failed, the first: cannot be drawn')"
    assert ends[refused.id]["exception"].startswith("InvalidSeed('-2 is not a seed")
    assert ends[late.id]["expired"] is True
    assert ask(app, worker, "disable_events") == {"ok": "task events disabled"}


def test_the_state_of_a_task_of_another_app_is_the_handlers_alone(bench: Bench, app: Celery, seeds: Fresh) -> None:
    start(bench, app)
    wanted = list(seeds(2))
    fine: Any = app.send_task(TASK_NAME, args=[wanted], ignore_result=False)
    refused: Any = app.send_task(TASK_NAME, args=[[1, -2]], ignore_result=False)
    late: Any = app.send_task(TASK_NAME, args=[wanted], expires=-5)
    assert fine.get(timeout=TIMEOUT_S)["succeeded"] == 2
    with pytest.raises(Exception, match="-2 is not a seed"):
        refused.get(timeout=TIMEOUT_S)
    with pytest.raises(TaskRevokedError, match="expired"):
        late.get(timeout=TIMEOUT_S)
    bench.client.submit(wanted).wait(TIMEOUT_S)  # later than all that Celery could still have stored
    assert (fine.state, refused.state, late.state) == ("SUCCESS", "FAILURE", "REVOKED")
    wait_until(lambda: bench.messages() == 0, "no message left", 10)


def test_shutdown_by_remote_control_is_the_orderly_end(
    bench: Bench, app: Celery, monitor: Monitor, seeds: Fresh
) -> None:
    worker = start(bench, app, Plan(ms_per_seed=50), SEEDMILL_TASK_EVENTS="true", SEEDMILL_MAX_BATCH="4")
    job = bench.client.submit(seeds(200))
    wait_until(lambda: bench.client.get(job.id).counts.succeeded, "its first chunk")
    assert ask(app, worker, "shutdown")["ok"].startswith("stopping")
    wait_until(lambda: worker.exit_status is not None, "its end")
    assert worker.exit_status == 0
    actions = [line["action"] for line in bench.actions(worker)]
    assert actions.index("worker_stopping") < actions.index("worker_stopped")
    assert "chunk_finished" in actions[actions.index("worker_stopping") :], "what was taken is finished"
    counts = bench.client.get(job.id).counts
    assert (counts.running, counts.failed, counts.canceled) == (0, 0, 0)
    assert counts.succeeded + 4 * bench.messages() == 200
    ended = defaultdict(list)
    wait_until(lambda: len(monitor.workers("task-succeeded")) * 4 == counts.succeeded, "all events")
    for event in sorted(monitor.events, key=lambda event: event["timestamp"]):  # buffers overtake one another
        ended[event.get("uuid")].append(event["type"])
    assert {kinds[-1] for task, kinds in ended.items() if task} == {"task-succeeded"}, ended
    start(bench, app)
    bench.check(job)


def paused(bench: Bench, app: Celery) -> Process:
    """Start a worker that takes no messages for now."""
    worker = start(bench, app, Plan(ms_per_seed=20))
    assert "ok" in ask(app, worker, "cancel_consumer", queue=QUEUE)
    wait_until(lambda: ask(app, worker, "active_queues") == [], "no queue is consumed from")
    return worker


def test_a_worker_told_to_consume_no_more_finishes_takes_nothing_and_can_be_told_again(
    bench: Bench, app: Celery, seeds: Fresh
) -> None:
    port = free_port()
    worker = start(bench, app, Plan(ms_per_seed=50), SEEDMILL_CONCURRENCY="2", SEEDMILL_METRICS_PORT=str(port))
    assert value(scrape(port), "seedmill_worker_ready") == 1
    job = bench.client.submit(seeds(40))
    wait_until(lambda: bench.held_by(worker), "its first chunks")
    assert ask(app, worker, "cancel_consumer", queue=QUEUE) == {"ok": f"no longer consuming from {QUEUE}"}
    wait_until(lambda: bench.held_by(worker) == 0, "the end of what was taken")
    seen = bench.client.get(job.id).counts
    assert seen.succeeded + seen.queued == 40
    assert seen.queued
    for _ in range(3):
        ask(app, worker, "ping")
    assert bench.client.get(job.id).counts == seen
    assert value(scrape(port), "seedmill_worker_ready") == 0
    assert ask(app, worker, "add_consumer", queue=QUEUE) == {"ok": f"add consumer {QUEUE}"}
    assert value(scrape(port), "seedmill_worker_ready") == 1
    bench.check(job)


def test_an_idle_worker_may_be_told_to_stop_and_go_on_in_one_breath(bench: Bench, app: Celery, seeds: Fresh) -> None:
    worker = start(bench, app)
    for _ in range(5):
        assert "ok" in ask(app, worker, "cancel_consumer", queue=QUEUE)
        assert "ok" in ask(app, worker, "add_consumer", queue=QUEUE)
    bench.check(bench.client.submit(seeds(4)))
    assert worker.exit_status is None


@pytest.mark.parametrize("command", ["add_consumer", "cancel_consumer"])
def test_no_other_queue_is_consumed_from(bench: Bench, app: Celery, seeds: Fresh, command: str) -> None:
    worker = start(bench, app)
    assert "takes from 'seedmill' alone" in ask(app, worker, command, queue="other")["error"]
    assert [queue["name"] for queue in ask(app, worker, "active_queues")] == [QUEUE]
    bench.check(bench.client.submit(seeds(4)))


@pytest.mark.parametrize("command", NOT_HERE)
def test_what_would_hold_work_back_is_refused_with_what_to_do(
    bench: Bench, app: Celery, seeds: Fresh, command: str
) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "rate_limit": {"task_name": TASK_NAME, "rate_limit": "1/h"},
        "time_limit": {"task_name": TASK_NAME, "hard": 0.001},
        "autoscale": {"max": 1, "min": 1},
        "revoke_by_stamped_headers": {"headers": {"a": ["b"]}, "terminate": True},
    }
    worker = start(bench, app, Plan(ms_per_seed=20))
    job = bench.client.submit(seeds(24))
    error = ask(app, worker, command, **arguments.get(command, {}))["error"]
    assert error == f"{command} does not work here: {NOT_HERE[command]}"
    bench.check(job)


@pytest.mark.parametrize("command", ["revoke", "terminate"])
@pytest.mark.parametrize("number", [3, 40])
def test_revoking_a_job_that_waits_cancels_it(
    bench: Bench, app: Celery, seeds: Fresh, command: str, number: int
) -> None:
    worker = paused(bench, app)
    job = bench.client.submit(seeds(number))
    assert ask(app, worker, command, task_id=[job.id], signal="SIGTERM") == {"ok": f"{job.id}: the job is canceled"}
    ask(app, worker, "add_consumer", queue=QUEUE)
    bench.check(bench.client.submit(seeds(4)))
    assert (job.refresh().status, job.counts.canceled) == (JobStatus.CANCELED, number)
    assert reconcile(bench.redis).republished == 0, "it is not enqueued for ever"
    if number == 3:
        with pytest.raises(TaskRevokedError, match="canceled"):
            app.AsyncResult(job.id).get(timeout=TIMEOUT_S)


def test_revoking_a_job_at_work_lets_go_of_it(bench: Bench, app: Celery, seeds: Fresh) -> None:
    start(bench, app, Plan(ms_per_seed=50), SEEDMILL_MAX_BATCH="4")
    job = bench.client.submit(seeds(200))
    wait_until(lambda: bench.client.get(job.id).counts.succeeded, "its first chunk")
    app.control.revoke(job.id, terminate=True)
    wait_until(lambda: bench.client.get(job.id).status is JobStatus.CANCELED, "its end")
    wait_until(lambda: bench.messages() == 0, "no message left", 10)
    counts = bench.client.get(job.id).counts
    assert counts.succeeded + counts.canceled == 200
    assert counts.canceled
    assert reconcile(bench.redis).republished == 0
    bench.check(bench.client.submit(seeds(4)))


def test_one_chunk_of_a_job_is_not_revoked_alone(bench: Bench, app: Celery, seeds: Fresh) -> None:
    worker = start(bench, app, Plan(ms_per_seed=20))
    job = bench.client.submit(seeds(40))
    wait_until(lambda: bench.held_by(worker), "its first chunks")
    ids = [f"{job.id}.{n}" for n in range(10)]
    assert "revoke the id of the job" in ask(app, worker, "revoke", task_id=ids, terminate=True)["error"]
    assert ask(app, worker, "revoked") == []
    bench.check(job)


def test_a_message_of_another_app_that_was_revoked_before_it_was_begun_is_not_run(
    bench: Bench, app: Celery, seeds: Fresh
) -> None:
    worker = paused(bench, app)
    wanted = list(seeds(2))
    answer: Any = app.send_task(TASK_NAME, args=[wanted])
    assert "remembered" in ask(app, worker, "revoke", task_id=answer.id)["ok"]
    ask(app, worker, "add_consumer", queue=QUEUE)
    with pytest.raises(TaskRevokedError, match="canceled"):
        answer.get(timeout=TIMEOUT_S)
    wait_until(lambda: bench.messages() == 0, "no message left", 10)
    assert not set(wanted) & set(bench.computed_counts())


def test_a_revoked_id_that_is_no_text_is_refused_and_an_ended_job_stays(
    bench: Bench, app: Celery, seeds: Fresh
) -> None:
    worker = start(bench, app)
    job = bench.client.submit(seeds(4))
    bench.check(job)
    assert ask(app, worker, "revoke", task_id=job.id) == {"ok": f"{job.id}: the job had ended, or was canceled already"}
    assert "5: revoke takes ids" in ask(app, worker, "revoke", task_id=5)["error"]
    assert bench.client.get(job.id).status is JobStatus.SUCCEEDED


def test_jobs_whose_queue_was_purged_are_enqueued_again(bench: Bench, app: Celery, seeds: Fresh) -> None:
    worker = paused(bench, app)
    jobs = [bench.client.submit(seeds(number)) for number in (3, 40)]
    assert app.control.purge() >= 2
    assert [bench.redis.llen(lane) for lane in LANES] == [0] * len(LANES)
    assert reconcile(bench.redis).republished == 11
    ask(app, worker, "add_consumer", queue=QUEUE)
    for job in jobs:
        bench.check(job)


def test_no_text_that_is_published_to_a_worker_ends_it(bench: Bench, app: Celery, seeds: Fresh) -> None:
    worker = start(bench, app)
    envelope: dict[str, Any] = {"body": "e30=", "content-type": "application/json", "content-encoding": "utf-8"}
    rest = {"headers": {}, "properties": {"delivery_info": {}, "body_encoding": "base64", "delivery_tag": "x"}}
    bodies = [b"junk", b"[]", b'{"method": 5}', b'{"method": "revoke", "arguments": {"task_id": {}}}']
    messages = [{**envelope, **rest, "body": base64.b64encode(body).decode()} for body in bodies]
    messages += [{}, [], 5, {**envelope, **rest, "headers": 5}, {**envelope, **rest, "properties": 5}]  # type: ignore[list-item]
    for text in ["junk", "[" * 100_000, *map(json.dumps, messages)]:
        wait_until(lambda: bench.redis.publish("/0.celery.pidbox", text), "a listener")  # noqa: B023  # used at once
        wait_until(lambda: hears(app, worker), text[:200], 10)
    assert "control_refused" in [line["action"] for line in bench.actions(worker)]
    bench.check(bench.client.submit(seeds(4)))


def test_more_ids_than_a_worker_looks_up_at_once_are_refused(bench: Bench, app: Celery) -> None:
    worker = start(bench, app)
    assert ask(app, worker, "revoke", task_id=[f"id-{n}" for n in range(MOST_IDS + 1)]) == {
        "error": f"{MOST_IDS + 1} ids: give at most {MOST_IDS} at a time"
    }
