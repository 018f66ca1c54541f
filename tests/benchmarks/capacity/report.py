"""From the figures of capacity to deploy/CAPACITY.md, whose parts between marks this writes.

``python -m tests.benchmarks.capacity.report`` writes them again from ``results/capacity.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks.capacity.check import DISTURBED
from tests.benchmarks.capacity.predict import PARTITION_PUTS_PER_S, PUT_MS, together
from tests.benchmarks.report import RESULTS as BENCH
from tests.benchmarks.report import Results, between
from tests.support import ROOT
from worker.duties import SWEEP_S

RESULTS = BENCH.with_name("capacity.json")
DOCUMENT = ROOT / "deploy" / "CAPACITY.md"
CHUNK = "chunks of 32"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def ceilings(results: Results) -> dict[str, dict[str, float]]:
    """Return by load what a chunk costs Redis, how much of that is the taking, and the most seeds a second."""
    found = {}
    for row in results["redis"]["calls"]:
        if row["call"] == "take" and row["messages"] == 1:
            load, seeds = row["load"], row["seeds"]
            calls = ("submit", "take", "start", "finish", "poll") if load == "lone" else ("take", "start", "finish")
            spent = {call: _cpu(results, load, call) for call in calls}
            whole = sum(spent.values())
            found[load] = {"us": whole, "seeds_per_s": 1e6 * seeds / whole, **spent}
    return found


def _cpu(results: Results, load: str, call: str) -> float:
    return next(float(row["cpu_us"]) for row in results["redis"]["calls"] if (row["load"], row["call"]) == (load, call))


def most_workers(results: Results) -> float:
    """Return with how many workers their heartbeats alone keep one Redis busy."""
    told = results["told"]
    return float((1000 - told["sweep_ms"] / SWEEP_S) / (told["beat_ms"] + told["sweep_each_ms"] / SWEEP_S))


def summary(results: Results) -> str:
    """Return what comes first, in the order in which it is met."""
    return "".join(f"{number}. {line}\n" for number, line in enumerate(_limits(results), 1))


def _limits(results: Results) -> Iterator[str]:
    default, tuned, _, last = results["needs"][:4]
    ceiling = ceilings(results)[CHUNK]
    yield (
        f"**Uploads.** With the {default['uploads']} uploading threads of the default and {PUT_MS:g} ms an object a "
        f"worker does {default['seeds_per_s']:,} seeds a second, whatever its GPU: `SEEDMILL_UPLOAD_THREADS` is the "
        "first setting to raise."
    )
    yield (
        f"**The interpreter of a worker.** One process does at most some {interpreter(results):,.0f} seeds a second on "
        f"the measured host. {tuned['workers']} workers would share a GPU that could do {tuned['seeds_per_s']:,} of "
        f"the demo model, on {tuned['cores_per_gpu']:g} cores: simulated, with a store that keeps up."
    )
    yield (
        "**The memory of Redis.** A result is kept for `SEEDMILL_RESULT_TTL_S` and a day. At full speed that GPU fills "
        f"{tuned['redis_gb_default']:,.0f} GB with the default of a week, and {tuned['redis_gb_least']:,.0f} GB with "
        "the least, an hour."
    )
    yield (
        f"**The thread of Redis.** A chunk of 32 takes {ceiling['us']:,.0f} microseconds of it: one Redis does at most "
        f"{ceiling['seeds_per_s']:,.0f} seeds a second."
    )
    yield (
        f"**The store.** {last['gpus']:,} GPUs with the demo model write {last['puts_per_s']:,} objects and "
        f"{last['store_mb_per_s'] / 1000:,.0f} GB a second: {last['partitions']:,} partitions of AWS S3 at "
        f"{PARTITION_PUTS_PER_S:,} writes each."
    )


def interpreter(results: Results) -> float:
    """Return the most seeds a second that one worker process does on the host of the GPU."""
    told = results["told"]
    return float(1000 / told["cores_beside_the_gpu"] / (told["python_ms"] + told["message_ms"] / 32))


NEEDS: Mapping[str, Callable[[Results], str]] = {
    "model": lambda row: str(row["model"]),
    "GPUs": lambda row: f"{row['gpus']:,}",
    "workers, uploads each": lambda row: f"{row['workers']}, {row['uploads']}",
    "seeds/s": lambda row: f"{row['seeds_per_s']:,}",
    "cores a GPU": lambda row: f"{row['cores_per_gpu']:g}",
    "Redis servers, by their thread": lambda row: f"{row['redis_servers']:,}",
    "calls/s": lambda row: f"{row['redis_calls_per_s']:,}",
    "their cores": lambda row: f"{row['redis_cores']:.2f}",
    "MB/s": lambda row: f"{row['redis_mb_per_s']:,.1f}",
    "append-only file, MB/s": lambda row: f"{row['aof_mb_per_s']:,.1f}",
    "memory, GB: least, default": lambda row: f"{row['redis_gb_least']:,.0f}, {row['redis_gb_default']:,.0f}",
    "S3 writes/s": lambda row: f"{row['puts_per_s']:,}",
    "a day, millions": lambda row: f"{row['puts_per_day'] / 1e6:,.0f}",
    "MB/s to S3": lambda row: f"{row['store_mb_per_s']:,.0f}",
    "first bottleneck": lambda row: str(row["bottleneck"]),
}


def needs(results: Results) -> str:
    """Return what GPUs need."""
    return table(list(NEEDS), ([cell(row) for cell in NEEDS.values()] for row in results["needs"]))


def redis(results: Results) -> str:
    """Return what Redis does for a seed, and how many GPUs it carries."""
    waiting = results["redis"]["waiting"][-1]
    woken = (waiting["wake_cpu_us"] + waiting["look_cpu_us"]) / 1000
    chunk = ceilings(results)[CHUNK]
    said = (
        f"Taking is {chunk['take'] / chunk['us']:.0%} of a chunk of 32: that much another broker would take off "
        f"Redis.\nHeartbeats alone keep one Redis busy from {most_workers(results):,.0f} workers on.\n"
        f"A message that comes to idle workers wakes them all, which takes {woken:.2f} ms of Redis each.\n"
    )
    return "\n".join((_calls(results), _beats(results), _crowds(results), said))


CALLS = ("submit", "take", "start", "finish", "poll")


def _calls(results: Results) -> str:
    head = ["microseconds of CPU", *CALLS, "bytes of a seed: in", "out", "memory", "most seeds/s"]
    rows = []
    for load, found in ceilings(results).items():
        spent = [f"{found[call]:,.0f}" if call in found else "" for call in CALLS]
        rows.append([load, *spent, *_bytes(results, load), f"{found['seeds_per_s']:,.0f}"])
    return table(head, rows)


def _bytes(results: Results, load: str) -> list[str]:
    """Return what a seed has on the wire and in memory, beside the record of its job where it is one of many."""
    calls = CALLS[:4] if load == "lone" else CALLS[1:4]
    rows = [next(row for row in results["redis"]["calls"] if (row["load"], row["call"]) == (load, c)) for c in calls]
    seeds = rows[0]["seeds"]
    return [f"{sum(row[kind] for row in rows) / seeds:,.0f}" for kind in ("in_bytes", "out_bytes", "memory_bytes")]


def _beats(results: Results) -> str:
    head = ["workers on one Redis", "a heartbeat, microseconds", "a look after all", "all, cores", "all, MB/s"]
    living = {(row["call"], row["workers"]): row for row in results["redis"]["living"]}
    rows = []
    for call, workers in living:
        if call == "beat":
            beat, sweep = living["beat", workers], living["sweep", workers]
            cores = together(beat["cpu_us"], sweep["cpu_us"], workers) / 1e6
            said, seen = (row["in_bytes"] + row["out_bytes"] for row in (beat, sweep))
            cells = [f"{workers:,}", f"{beat['cpu_us']:,.0f}", f"{sweep['cpu_us']:,.0f}", f"{cores:.4f}"]
            rows.append([*cells, f"{together(said, seen, workers) / 1e6:,.2f}"])
    return table(head, rows)


def _crowds(results: Results) -> str:
    head = ["model", "GPUs on one Redis", "workers", "seeds/s", "of as many alone", "Redis busy", "by heartbeats"]
    rows = []
    for row in results["crowds"]:
        cells = [row["model"], f"{row['gpus']:,}", f"{row['workers']:,}", f"{row['seeds_per_s']:,}"]
        shares = (row["of_linear"], min(1.0, row["redis_busy"]), min(1.0, row["heartbeats"]))
        rows.append([*cells, *(f"{share:.0%}" for share in shares)])
    return table(head, rows)


def checks(results: Results) -> str:
    """Return the points with the error of each, and how far off it is altogether."""
    rows = [*results["reproduced"], *results["held_out"]]
    cells = [
        [
            *(row["source"], row["what"], row["unit"], f"{row['measured']:,g}", f"{row['simulated']:,g}"),
            "fitted" if row["fitted"] else f"{row['error']:+.0%}",
        ]
        for row in rows
    ]
    head = ["from", "point", "figure", "measured", "simulated", "error"]
    return f"{_errors(results)}\n\n{table(head, cells)}"


def _errors(results: Results) -> str:
    said = []
    for name, what in (("reproduced", "points of other benchmarks"), ("held_out", "points held out")):
        for kind, found in results["errors"][name].items():
            how = f", while others took more than {DISTURBED:.0%} of the cores" if kind == "disturbed" else ""
            most = f"{found['median']:.0%} for half of them, {found['most']:.0%} at most"
            said.append(f"- {found['points']} {what}{how}: off by up to {most}.")
    return "\n".join(said)


def sensitivity(results: Results) -> str:
    """Return what depends on what."""
    head = ["one GPU, demo model", "seeds/s", "cores", "Redis, microseconds a seed", "first bottleneck"]
    return table(
        head,
        (
            [
                *(row["what"], f"{row['seeds_per_s']:,}", f"{row['cores']:g}"),
                *(f"{row['redis_us_per_seed']:g}", row["bottleneck"]),
            ]
            for row in results["sensitivity"]
        ),
    )


PARTS: Mapping[str, Callable[[Results], str]] = {
    "summary": summary,
    "needs": needs,
    "redis": redis,
    "sensitivity": sensitivity,
    "checks": checks,
}


def put_into(text: str, results: Results) -> str:
    """Return the document with every part between its marks."""
    for name, part in PARTS.items():
        text = between(text, (f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"), part(results))
    return text


def write(results: Mapping[str, Any]) -> None:
    """Write the parts into the document."""
    DOCUMENT.write_text(put_into(DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    write(json.loads(RESULTS.read_text(encoding="utf-8")))
