"""What workers cost Redis by living: what each asks as time goes by, and what grows with how many there are.

A heartbeat is that of one worker, with the question whether it is due to look after the others. One of a queue's
workers is, about once a second, and what its look takes is measured apart: it grows with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from producer import records
from producer.connection import connect
from producer.contract import QUEUE, WAKE
from tests.benchmarks.capacity.calls import MODEL, TTL_S, Bench, Recording, least, running_bench, wait_until
from worker.duties import SWEEP_S
from worker.queue.ledger import Ledger
from worker.queue.sweeper import GRACE_S

BEATS, SWEEPS = 400, 40
LEASE_S = 600.0
"""Nobody is gone while it is measured, however long that takes."""

FACTS = {
    "host": "gpu-host-0001",
    "pid": 12345,
    "device": "cuda:0",
    "model_id": MODEL,
    "trained": True,
    "image_size": 256,
    "latent_dim": 1024,
    "started_at": "2026-01-01T00:00:00+00:00",
    "seeds": 10**6,
    "cached": 0,
    "batches": {"1": 1, "32": 30_000},
}


def waiting(bench: Bench, workers: int) -> dict[str, Any]:
    """Measure what one message costs that comes while so many workers wait: each is woken, and looks."""
    crowd = bench.crowd(workers)
    recording = Recording()
    client: Any = recording
    Ledger(client, limit=64, seeds=128, result_ttl_s=TTL_S).take()
    look = bench.pack(recording.call)

    def wake() -> int:
        bench.control.rpush(QUEUE, WAKE)
        return sum(connection.read_response() is not None for connection in crowd)

    bench.control.delete(QUEUE)
    for connection in crowd:
        connection.send_command("BLMOVE", QUEUE, QUEUE, "RIGHT", "RIGHT", 60)
    wait_until(lambda: bench.control.info("clients")["blocked_clients"] == workers)
    spent, woken = bench.meter(workers, wake)
    bench.control.delete(QUEUE)
    looks, _ = bench.meter(workers, lambda: bench.send([look] * workers))
    for connection in crowd:
        connection.disconnect()
    return {"workers": workers, "woken": woken, "wake_cpu_us": spent["cpu_us"], "look_cpu_us": looks["cpu_us"]}


def living(bench: Bench, workers: int) -> list[dict[str, Any]]:
    """Measure what a heartbeat costs while so many workers live, and what a look after all of them."""
    with ExitStack() as stack:
        ledgers = []
        for _ in range(workers):
            client = connect(bench.url, decode=False, retries=0)
            stack.callback(client.close)
            ledgers.append(Ledger(client, limit=64, seeds=128, result_ttl_s=TTL_S, lease_s=LEASE_S))
            ledgers[-1].beat(FACTS)
            ledgers[-1].sweep(LEASE_S)  # from now on nobody is due

        def beat() -> None:
            for number in range(BEATS):
                ledger = ledgers[number % workers]
                ledger.beat(FACTS)
                ledger.sweep(SWEEP_S)

        def sweep() -> None:
            for number in range(SWEEPS):
                ledgers[number % workers].sweep()

        beats, _ = bench.meter(BEATS, beat)
        sweeps, _ = bench.meter(SWEEPS, sweep)
        for ledger in ledgers:
            ledger.leave()
    return [{"call": "beat", "workers": workers, **beats}, {"call": "sweep", "workers": workers, **sweeps}]


def looking(bench: Bench) -> dict[str, Any]:
    """Measure what else a worker asks as time goes by: whether a job is cancelled, whether a manifest is due."""
    get = list(bench.crowd(1)[0].pack_command("HGET", "seedmill:job:none", "status"))
    hgets, _ = bench.meter(500, lambda: bench.send([get] * 500))
    claim = bench.pack(records.claim_manifest(60))
    claims, _ = bench.meter(500, lambda: bench.send([claim] * 500))
    return {"canceled_cpu_us": hgets["cpu_us"], "manifest_cpu_us": claims["cpu_us"]}


def measure(rounds: int, workers: Sequence[int]) -> dict[str, Any]:
    """Measure everything with each of these numbers of workers."""
    with running_bench() as bench:
        wait_until(lambda: bench.control.info("server")["uptime_in_seconds"] >= GRACE_S)  # workers sweep from then on
        return {
            "looks": looking(bench),
            "waiting": least([[waiting(bench, count) for count in workers] for _ in range(rounds)]),
            "living": least([[row for count in workers for row in living(bench, count)] for _ in range(rounds)]),
        }
