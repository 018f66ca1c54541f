"""The figures of a run of a million seeds, from what was seen of it, and their table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.benchmarks import million_report as report
from tests.benchmarks.million_producer import Sequence
from tests.benchmarks.report import README

SEEDS = 1000
SUM = "0" * 64


def sample(at_s: float, done: int, *, leak_mb: float = 0.0) -> dict[str, Any]:
    generation = int(done > SEEDS / 2)
    rss = {"worker 1": 100 + leak_mb * done / SEEDS, "valkey": 10 + done / 100, "producer": 48.0}
    cpu = {"worker 1": 1 + done / 1000, "worker 2": 2 + done / 1000, "valkey": done / 10_000}
    facts = {"rss_mb": rss, "cpu_s": cpu, "redis_used_mb": done / 1000, "disk_mb": 1.0}
    return {"at_s": at_s, "generation": generation, "done": done, **facts}


SAMPLES = [sample(place / 10, 10 * place) for place in range(101)]
SAID = [
    {"action": "submitted", "s": 0.003},
    *({"action": "polled", "at_s": done / 100, "ms": 1.0 + (done == 500) * 99, "done": done} for done in range(SEEDS)),
    {"action": "unreachable", "at_s": 5.0, "s": 0.5},
    {"action": "ended", "s": 10.04, "status": "succeeded", "counts": {"succeeded": SEEDS}},
    {"action": "manifest written", "uri": "s3://x", "since_end_s": 3.21},
    {"action": "results read", "s": 2.0, "seeds": SEEDS, "digest": "d"},
]
KILL = {"at_s": 5.0, "done_before": 500, "done_after": 500, "messages_held": 4}
KILL |= {"valkey_back_s": 1.0, "workers_ready_s": 2.0, "first_seeds_s": 0.25}


def found() -> dict[str, Any]:
    rest = {
        "others_cpu_share": 0.0,
        "redis": {"results": {"keys": 32, "mb": 0.5}, "the rest": {"keys": 1, "mb": 0.0}},
        "checked": {"manifest_lines": SEEDS, "manifest_mb": 0.4, "pictures_whole": SEEDS, "pictures_put_again": 2},
        "computed": {"runs": SEEDS + 7, "never": 0, "twice": 7},
    }
    return json.loads(json.dumps({**report.summary(SEEDS, SAID, SAMPLES, KILL), **rest}))  # type: ignore[no-any-return]


def test_polls_are_told_over_all_and_by_tenths_of_the_job() -> None:
    polls = found()["polls"]
    assert (polls["polls"], polls["p50_ms"], polls["p99_ms"], polls["max_ms"]) == (SEEDS, 1.0, 1.0, 100.0)
    assert [tenth["max_ms"] for tenth in polls["by_tenth"]] == [1.0] * 5 + [100.0] + [1.0] * 4
    assert polls["unreachable"] == {"polls": 1, "s": 0.5}


def test_speed_is_told_before_the_kill_and_after_it() -> None:
    assert found()["speed"] == {"before_seeds_per_s": 100.0, "after_seeds_per_s": 100.0}


def test_memory_that_stays_and_memory_that_grows_with_the_seeds_are_told_apart() -> None:
    memory = found()["memory"]
    assert memory["producer"]["before"]["bytes_a_seed"] == memory["worker 1"]["after"]["bytes_a_seed"] == 0
    assert memory["valkey"]["before"]["bytes_a_seed"] == pytest.approx(10_000)
    assert memory["data of Redis"]["whole"]["bytes_a_seed"] == pytest.approx(1000)
    leaking = report.memory(SEEDS, [sample(place / 10, 10 * place, leak_mb=80) for place in range(101)])
    assert leaking["worker 1"]["before"]["grew_mb"] == pytest.approx(80 * 0.4, abs=0.1)
    assert leaking["worker 1"]["most_mb"] == 180


def test_cpu_time_is_that_of_all_processes_of_a_kind_a_seed() -> None:
    assert found()["cpu_ms_a_seed"] == {"workers": 2.0, "valkey": 0.1}


def test_the_table_says_what_was_lost_and_what_was_done_twice() -> None:
    text = report.markdown(found())
    assert "| seeds without a result; without whole objects; computed twice; published twice | 0; 0; 7; 2 |\n" in text
    assert "| bytes of Redis a seed | 500: results 500 |\n" in text
    assert "| worker 1 | 100 to 100, 0 | 100 to 100, 0 | 100 |\n" in text
    assert "| data of Redis | 0 to 1, 1,000 |  | 1 |\n" in text
    assert "Other processes" not in text
    assert report.markdown({**found(), "others_cpu_share": 0.3}).startswith("Other processes took 30% of the cores")


def test_the_readme_has_a_place_for_it() -> None:
    text = report.put_into(README.read_text(encoding="utf-8"), found())
    assert report.markdown(found()) in text
    assert report.put_into(text, found()) == text


def test_a_sequence_takes_each_seed_once_in_order_and_with_its_sum() -> None:
    sequence, other = Sequence(), Sequence()
    sequence.add(0, SUM)
    sequence.add(1, SUM)
    for seed, wrong in ((1, SUM), (3, SUM), (2, None), (2, "0" * 63)):
        with pytest.raises(ValueError, match="seed 2 was to come"):
            sequence.add(seed, wrong)
    other.add(0, SUM)
    assert (sequence.count, sequence.digest != other.digest) == (2, True)
