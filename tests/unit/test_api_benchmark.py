"""The arithmetic and the tables of the benchmarks of the API and of tenants, and the readers of event streams."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import httpx2
import pytest
from rich.console import Console

from tests.benchmarks import api, api_report, streams, tenants_report
from worker.machine import usable_cores

MACHINE = {"cores": 2}
KIND = {"calls": 100, "failed": 1, "p50_ms": 5.0, "p95_ms": 9.0, "p99_ms": None}
LATE = {"p50_ms": 3.04, "p95_ms": 9.0, "p99_ms": 12.0}


def phase(others: float = 0.0, wrong: list[str] | None = None) -> dict[str, Any]:
    figures = {
        "kinds": {"poll": KIND, "wait": KIND, api_report.TOLD: KIND, api_report.LATER: KIND},
        "errors": ["poll: 404 (1 times)"],
    }
    seen = {"streams": 2, "events": {"result": 4}, "events_per_s": 4.04, "late": LATE, "wrong": wrong or []}
    spent = {"seconds": 10.0, "API": 0.9, "valkey": 0.1, "others": others}
    load = {"callers": {"pollers": 20}, "seconds": 10, "offered_per_s": 20}
    return api_report.phase(load, figures, spent, {"before_mb": 100.04, "during_mb": 110, "after_mb": 120}, seen)


def rounds() -> list[dict[str, Any]]:
    alone = {"lone_ms": [10.0, 20.0, 30.0], "b_seeds_per_s": 100.0, "a_seeds_per_s": 0.0, "b_share": 1.0}
    beside = {"lone_ms": [20.0, 40.0, 60.0], "b_seeds_per_s": 50.0, "a_seeds_per_s": 50.0, "b_share": 0.5}
    crowded = {"lone_ms": [2000.0], "b_seeds_per_s": 2.0, "a_seeds_per_s": 98.0, "b_share": 0.02}
    return [{"alone": alone, "tenants": beside, "jobs": crowded}] * 2


def test_what_callers_were_told_is_no_request_of_theirs() -> None:
    found = phase()
    assert found["requests_per_s"] == 20.0
    assert found["api_cpu_ms_per_request"] == 45.0
    assert found["kinds"]["poll"] == {**KIND, "per_s": 10.0}
    assert (found["streams"]["events_per_s"], found["streams"]["late"]["p50_ms"]) == (4.0, 3.0)


def test_what_has_a_whole_core_or_all_of_them_is_what_limits_the_rest() -> None:
    assert api_report.limits({"API": 0.9, "worker": 0.0}) == (["API", "machine"] if usable_cores() == 1 else ["API"])
    assert api_report.limits({"API": 0.1, "others": 0.9 * usable_cores()}) == ["machine"]
    assert api_report.limits({"API": 0.1}) == []


def test_a_disturbed_run_is_named_so() -> None:
    assert api_report.remarks({"machine": MACHINE, "phases": {"fits": phase()}}) == []
    (remark,) = api_report.remarks({"machine": MACHINE, "phases": {"fits": phase(), "polls": phase(others=0.5)}})
    assert "25% of the cores" in remark


def test_the_tables_show_every_kind_and_what_went_wrong() -> None:
    results = {"machine": MACHINE, "phases": {"fits": phase(wrong=["j: 3 results of 2 seeds"])}}
    out = io.StringIO()
    api_report.print_tables(results, Console(file=out, width=200))
    for text in ("poll", "wait", "events of 2 streams", "end to answer", "poll: 404 (1 times)"):
        assert text in out.getvalue()
    assert api_report.wrong(results) == ["j: 3 results of 2 seeds"]


def test_the_api_table_is_put_between_its_marks() -> None:
    results = {"machine": MACHINE, "phases": {"heed": phase(), "waits": phase()}}
    before, after = f"a\n{api_report.MARKS[0]}", f"{api_report.MARKS[1]}b\n"
    text = api_report.put_into(f"{before}old\n{after}", results)
    assert text == before + api_report.markdown(results) + after
    assert "quick run" in api_report.markdown({**results, "quick": True})
    for line in (
        "| 2,000 pollers who heed Retry-After, 200 streams | polls | 10 | 5 | 9 |  |\n",
        "|  | long polls, from the job's end | 10 | 5 | 9 |  |\n",
        "|  | events, from the record in Redis | 4 | 3 | 9 | 12 |\n",
        "| 2,000 who submit and long-poll | polls | 10 | 5 | 9 |  |\n",
        "- 2,000 who submit and long-poll: 45.0 ms of CPU a request, 100 MB before and 120 MB after\n",
    ):
        assert line in text


def test_the_api_table_of_a_disturbed_run_says_so() -> None:
    text = api_report.markdown({"machine": MACHINE, "phases": {"fits": phase(others=0.5)}})
    assert text.startswith("Other processes took up to 25% of the cores meanwhile")


def test_of_callers_who_heed_or_wait_nobody_can_say_what_they_offer() -> None:
    assert {name: load.offered_per_s for name, load in api.LOADS.items()} == {
        "heed": None,
        "fits": 315,
        "polls": 2015,
        "waits": None,
    }
    assert api.LOADS.keys() == api.QUICK.keys() == api_report.PHASES.keys()


def test_a_tenants_figures_are_those_of_all_rounds() -> None:
    ways = tenants_report.summary(rounds())["ways"]
    assert (ways["alone"]["lone_p50_ms"], ways["alone"]["lone_max_ms"], ways["alone"]["lone_seeds"]) == (20.0, 30.0, 6)
    assert (ways["tenants"]["lone_to_alone"], ways["jobs"]["lone_to_alone"]) == (2.0, 100.0)
    assert (ways["tenants"]["job_to_alone"], ways["tenants"]["b_share"]) == (0.5, 0.5)


def test_the_tenants_table_is_put_between_its_marks() -> None:
    results = {"others_cpu_share": 0.0, **tenants_report.summary(rounds())}
    before, after = f"a\n{tenants_report.MARKS[0]}", f"{tenants_report.MARKS[1]}b\n"
    text = tenants_report.put_into(f"{before}old\n{after}", results)
    assert text == before + tenants_report.markdown(results) + after
    assert "| beside A | 40 | 60 | 60 | 2.0 | 50 | 50% | 0.50 |\n" in text
    assert "| beside A, without tenants | 2,000 | 2,000 | 2,000 | 100.0 | 2 | 2% | 0.02 |\n" in text


def test_a_tenants_table_of_a_disturbed_run_says_so() -> None:
    text = tenants_report.markdown({"others_cpu_share": 0.46, **tenants_report.summary(rounds())})
    assert text.startswith("Other processes took 46% of the cores meanwhile")


def stream_of(*seeds: int, status: str = "succeeded") -> str:
    events = [f"event: result\nid: 1.{n}\ndata: {json.dumps({'seed': seed})}\n\n" for n, seed in enumerate(seeds)]
    return (
        "retry: 2000\n\n: keep-alive\n\n"
        + "".join(events)
        + f'event: status\nid: 2\ndata: {{"status": "{status}"}}\n\n'
    )


def followed(text: str, code: int = 200) -> streams.Seen:
    async def follow() -> streams.Seen:
        transport, seen = (
            httpx2.MockTransport(lambda _: httpx2.Response(code, text=text)),
            streams.Seen(streams.Logs(["j"])),
        )
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            await streams.follow(client, {"id": "j", "first": 7, "count": 2}, seen)
        return seen

    return asyncio.run(follow())


def test_a_stream_with_every_seed_once_is_right() -> None:
    seen = followed(stream_of(8, 7))
    assert seen.wrong == []
    assert seen.by_name == {"result": 2, "status": 1}
    assert [(one.job, one.entry) for one in seen.arrivals] == [("j", 1), ("j", 1)]


def test_a_result_is_late_from_when_its_entry_was_recorded() -> None:
    logs = streams.Logs(["j"])
    logs.note("j", 1, 0.0)  # before anybody listened
    logs.note("j", 2, 10.0)
    logs.note("j", 2, 11.0)  # a change that is not in the log
    logs.note("j", 4, 12.0)
    late = [logs.late_ms(streams.Arrival("j", entry, 9.0, 12.5)) for entry in (1, 2, 3, 4, 5)]
    assert late == [None, 2500.0, 500.0, 500.0, None]
    assert logs.late_ms(streams.Arrival("j", 2, 10.5, 12.5)) is None  # recorded before the stream was opened
    assert logs.late_ms(streams.Arrival("j", 4, 9.0, 11.9)) == 0.0  # came before this process had heard of it


def test_streams_none_of_whose_results_can_be_timed_have_no_lateness() -> None:
    assert followed(stream_of(8, 7)).to_dict()["late"] == {"p50_ms": None, "p95_ms": None, "p99_ms": None}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (stream_of(7), 200, "1 results of 1 seeds"),
        (stream_of(7, 8, 7), 200, "3 results of 2 seeds"),
        (stream_of(7, 8, status="running"), 200, "last status 'running'"),
        ("no", 503, "503 no"),
    ],
)
def test_a_seed_that_is_lost_or_doubled_and_a_stream_that_breaks_off_are_wrong(text: str, code: int, said: str) -> None:
    (wrong,) = followed(text, code).wrong
    assert said in wrong
