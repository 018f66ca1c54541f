"""Messages that are none, that are hostile, or that come twice: the worker goes on, and good jobs do not wait."""

from __future__ import annotations

import json
import random
import signal
import string
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from producer.contract import LANES, QUEUE, TASK_NAME, JobStatus, Priority, result_key
from producer.message import ChunkMessage
from tests.torture.bench import Bench, kill, wait_until
from tests.unit.test_envelope import GOOD, HOSTILE, PATHS, json_values
from worker.local.process import Process

Fresh = Callable[[int], range]

GOOD_JOB_S = 2.0
HOSTILE_MESSAGES = 10_000  # with --torture; a part of them otherwise


@pytest.fixture(scope="module")
def victim(bench: Bench) -> Iterator[Process]:
    """One worker for all the messages of this module; it must outlive them."""
    bench.redis.flushall()
    worker = bench.worker()
    yield worker
    assert worker.exit_status is None
    kill(worker)
    bench.redis.flushall()


def a_good_job_ends_soon(bench: Bench, seed: int) -> None:
    started = time.monotonic()
    assert bench.client.submit(seed).wait(30).status is JobStatus.SUCCEEDED
    assert time.monotonic() - started < GOOD_JOB_S


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_message_that_is_none_becomes_a_dead_letter_and_a_good_job_behind_it_ends(
    bench: Bench, victim: Process, seeds: Fresh, text: str | bytes
) -> None:
    bench.client.purge()
    bench.redis.lpush(QUEUE, text)
    a_good_job_ends_soon(bench, seeds(1)[0])
    wait_until(lambda: bench.dead_letters() == 1, "a dead letter", 5)
    (letter,) = bench.client.dead_letters()
    assert "MalformedMessage" in letter.reason
    assert letter.job_id is None
    assert victim.exit_status is None
    assert bench.messages() == 0


def test_whoever_waits_for_a_malformed_message_is_told(bench: Bench, victim: Process) -> None:
    bench.redis.lpush(QUEUE, str(HOSTILE["a body of two"]).replace('"id": "t"', '"id": "waited for"'))
    app = Celery(broker=bench.endpoints.redis_url, backend=bench.endpoints.redis_url, set_as_current=False)
    answer: Any = app.AsyncResult("waited for")
    with pytest.raises(Exception, match="args, kwargs, embed"):
        answer.get(timeout=10)
    assert answer.state == "FAILURE"
    app.close()


def test_a_malformed_message_can_be_replayed_and_is_buried_again(bench: Bench, victim: Process) -> None:
    bench.client.purge()
    bench.redis.lpush(QUEUE, "hello")
    wait_until(lambda: bench.dead_letters() == 1, "a dead letter", 5)
    (first,) = bench.client.dead_letters()
    bench.client.replay(first.id)
    wait_until(lambda: [letter.id for letter in bench.client.dead_letters()] not in ([], [first.id]), "another one", 5)
    assert bench.client.dead_letters()[0].raw == "hello"


def test_an_unknown_task_and_wrong_arguments_end_in_failure_with_the_reason(bench: Bench, victim: Process) -> None:
    app = Celery(broker=bench.endpoints.redis_url, backend=bench.endpoints.redis_url, set_as_current=False)
    unknown: Any = app.send_task("os.system", args=["true"], queue=QUEUE)
    wrong: Any = app.send_task(TASK_NAME, args=[1, 2, 3, 4], kwargs={"seeds": 3}, queue=QUEUE)
    later: Any = app.send_task(TASK_NAME, args=[1], queue=QUEUE, countdown=60)
    for answer, words in (
        (unknown, "for 'seedmill.generate' alone"),
        (wrong, "unknown arguments"),
        (later, "countdown"),
    ):
        with pytest.raises(Exception, match=words):
            answer.get(timeout=10)
        assert answer.state == "FAILURE"
    app.close()


def test_celerys_own_priorities_choose_the_lane(bench: Bench, victim: Process, seeds: Fresh) -> None:
    app = Celery(broker=bench.endpoints.redis_url, backend=bench.endpoints.redis_url, set_as_current=False)
    wanted = seeds(4)
    for seed, priority in zip(wanted, (0, 3, 6, 9), strict=True):
        answer: Any = app.send_task(TASK_NAME, args=[seed], queue=QUEUE, priority=priority)
        assert answer.get(timeout=10)["succeeded"] == 1
    app.close()


def test_a_message_that_comes_twice_is_counted_once(bench: Bench, victim: Process, seeds: Fresh) -> None:
    wanted = tuple(seeds(4))
    message = ChunkMessage("twice", "twice", 0, wanted).encode()
    bench.redis.lpush(QUEUE, message, message, message)
    wait_until(lambda: bench.messages() == 0, "all three settled", 15)
    job = bench.client.get("twice") if bench.redis.exists("seedmill:job:twice") else None
    assert job is None, "a chunk of a job that nobody submitted has expired"
    job = bench.client.submit(wanted, job_id="thrice")
    text = ChunkMessage("thrice", "thrice", 0, wanted).encode()
    bench.redis.lpush(QUEUE, text, text)
    bench.check(job)
    assert job.refresh().counts.succeeded == 4


def test_a_message_cannot_choose_where_to_write(bench: Bench, victim: Process, seeds: Fresh) -> None:
    app = Celery(broker=bench.endpoints.redis_url, backend=bench.endpoints.redis_url, set_as_current=False)
    before = {path.parent for path in (bench.folder / "s3").rglob("*.png")}
    for arguments in ({"bucket": "other"}, {"key": "../x"}, {"prefix": "/etc"}, {"model_id": "../../x"}):
        answer: Any = app.send_task(TASK_NAME, args=[seeds(1)[0]], kwargs=arguments, queue=QUEUE)
        with pytest.raises(Exception, match="unknown arguments"):
            answer.get(timeout=10)
    for task_id in ("../../../etc/x", "a/b", "seedmill:workers"):
        answer = app.send_task(TASK_NAME, args=[seeds(1)[0]], task_id=task_id, queue=QUEUE)
        assert answer.get(timeout=10)["succeeded"] == 1
    app.close()
    assert {path.parent for path in (bench.folder / "s3").rglob("*.png")} <= before | {
        bench.folder / "s3" / "seedmill" / "stand-in-0123456789abcdef"
    }


def test_forged_chunks_of_a_job_neither_end_it_nor_keep_it_from_its_end(
    bench: Bench, victim: Process, seeds: Fresh
) -> None:
    """They come first: its chunks with other numbers of seeds, chunks that it has not, foreign ids."""
    wanted, other = seeds(8), tuple(seeds(3))
    bench.redis.set(result_key("stranger"), "theirs")
    victim.signal(signal.SIGSTOP)
    job = bench.client.submit(wanted, job_id="forged", priority="bulk")
    pending = bench.client.submit(seeds(4), job_id="pending", priority="bulk")
    forged = {"forged.0": 0, "forged.1": 1, "forged.2": 2, "forged": 49_999, "stranger": 0, "pending": 0}
    for task_id, chunk in forged.items():
        bench.redis.lpush(QUEUE, ChunkMessage(task_id, "forged", chunk, other).encode())
    victim.signal(signal.SIGCONT)
    bench.check(job)
    assert [result.seed for result in job.results()] == list(wanted)
    assert bench.redis.get(result_key("stranger")) == "theirs"
    bench.check(pending)
    reasons = [letter.reason for letter in bench.client.dead_letters() if "forged" in (letter.raw or "")]
    assert len(reasons) == 6
    assert sum("is none of job forged" in reason for reason in reasons) == 4


def mutated(rng: random.Random) -> bytes:
    """Return a message of ours with some bytes changed, cut out or put in."""
    data = bytearray(GOOD.encode())
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data))
        kind = rng.randrange(3)
        if kind == 0:
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place : place + rng.randrange(40)]
        else:
            data[place:place] = "".join(rng.choices(string.printable, k=rng.randrange(10))).encode()
    return bytes(data)


collected: list[str | bytes] = []


@given(path=st.sampled_from(PATHS), value=json_values)
def collect(path: tuple[str, ...], value: object) -> None:
    message = json.loads(GOOD)
    place = message
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    collected.append(json.dumps(message))


def test_thousands_of_hostile_messages_neither_end_the_worker_nor_keep_a_good_job(
    bench: Bench, victim: Process, seeds: Fresh, torture: bool
) -> None:
    number = HOSTILE_MESSAGES if torture else HOSTILE_MESSAGES // 5
    collected.clear()
    settings(
        max_examples=number // 2, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(collect)()  # fmt: skip
    rng = random.Random(3)
    collected.extend(mutated(rng) for _ in range(number - len(collected)))
    pid, good = victim.pid, iter(seeds(10))
    for start in range(0, number, 1000):
        for text in collected[start : start + 1000]:
            bench.redis.lpush(rng.choice(LANES[1:]), text)
        bench.redis.rpush(QUEUE, "wake")
        a_good_job_ends_soon(bench, next(good))
        bench.redis.lpush(QUEUE, *collected[start : start + 20])
        a_good_job_ends_soon(bench, seeds(1)[0])
    wait_until(lambda: bench.messages() == 0, "all of them settled", 120)
    assert (victim.pid, victim.exit_status) == (pid, None)
    a_good_job_ends_soon(bench, seeds(1)[0])
    bench.check(bench.client.submit(seeds(40), priority=Priority.BULK))
