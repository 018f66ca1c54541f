"""What each call to Redis costs Redis: CPU time, bytes on the wire, bytes in the append-only file, and memory kept.

The scripts are the real ones, called with what clients and workers call them with, over many connections that have a
command each under way, as a busy Redis sees them. CPU time is that of the server's main thread, which does all of it:
the reciprocal is the ceiling of one Redis.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.connection

from producer import attempts, records
from producer.attempts import Ending
from producer.connection import connect
from producer.contract import Priority, SeedStatus, chunk_task_id
from producer.gallery import encode_facts
from producer.lua import Call
from producer.message import ChunkMessage, SeedResult, chunk_result, encode_celery_result
from worker.local.servers import Server, start_valkey
from worker.queue.ledger import Ledger

CONNECTIONS = 16
TTL_S = 7 * 24 * 3600
GALLERY = 2_000
"""Pictures in the gallery, filled before it is measured: each that comes puts one out, as in the long run."""

MODEL = "demo-6bd0c09c6ba4b445"
CAPTION = "a quiet harbour with two boats under an evening sky, painted in oil"
TIMINGS = dict.fromkeys(("queue_ms", "generate_ms", "encode_ms", "put_image_ms", "put_metadata_ms", "total_ms"), 12.345)
LONE = 1
WAIT_S = 60.0

Command = list[bytes]


class Recording:
    """Stands in for a client: keeps the call of a script that would be made, and answers with nothing."""

    def __init__(self) -> None:
        self.call = Call("", [], [])

    def register_script(self, script: str) -> Callable[..., list[Any]]:
        """Return what keeps the keys and arguments that it is called with."""

        def keep(keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
            self.call = Call(script, keys, args)
            return []

        return keep


class Bench:
    """A server with a control connection and many others."""

    def __init__(self, server: Server) -> None:
        self.url = f"redis://127.0.0.1:{server.port}/0"
        self.control: Any = connect(self.url)
        self.control.config_set("auto-aof-rewrite-percentage", 0)
        self._port = server.port
        self._crowd = [self._connect() for _ in range(CONNECTIONS)]
        self._loaded: set[str] = set()
        self._own = dict.fromkeys(self._spent(), 0.0)
        self._own = self.meter(1, lambda: None)[0]

    def _connect(self) -> Any:
        kind: Any = redis.connection.Connection  # its methods have no types
        return kind(host="127.0.0.1", port=self._port)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._crowd:
            connection.disconnect()
        self.control.close()

    def pack(self, call: Call) -> Command:
        """Return a call as it is sent."""
        name = hashlib.sha1(call.script.encode()).hexdigest()  # how Redis names scripts
        if name not in self._loaded:
            self.control.script_load(call.script)
            self._loaded.add(name)
        return list(self._crowd[0].pack_command("EVALSHA", name, len(call.keys), *call.keys, *call.args))

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands on all connections at a time, and return the answers."""
        answers = []
        for start in range(0, len(commands), CONNECTIONS):
            busy = list(zip(self._crowd, commands[start : start + CONNECTIONS], strict=False))
            for connection, command in busy:
                connection.send_packed_command(command)
            answers += [connection.read_response() for connection, _ in busy]
        return answers

    def meter(self, count: int, call: Callable[[], Any]) -> tuple[dict[str, float], Any]:
        """Call, and return what each of ``count`` parts of it took of the server, and what came of it."""
        before = self._spent()
        answer = call()
        after = self._spent()
        spent = {name: (after[name] - before[name] - self._own[name]) / count for name in before}
        return {name: round(value, 3) for name, value in spent.items()}, answer

    def crowd(self, count: int) -> list[Any]:
        """Return new connections."""
        return [self._connect() for _ in range(count)]

    def _spent(self) -> dict[str, float]:
        facts: Any = self.control.info("everything")
        return {
            "cpu_us": 1e6 * (facts["used_cpu_user_main_thread"] + facts["used_cpu_sys_main_thread"]),
            "in_bytes": facts["total_net_input_bytes"],
            "out_bytes": facts["total_net_output_bytes"],
            "aof_bytes": facts["aof_current_size"],
            "memory_bytes": facts["used_memory"],
        }


@dataclass(frozen=True)
class Load:
    """Work of one shape: messages of so many seeds, and how many of them a take brings."""

    size: int
    per_take: int
    takes: int

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return "lone" if self.size == LONE else f"chunks of {self.size}"

    @property
    def messages(self) -> int:
        """Messages in all."""
        return self.per_take * self.takes


LOADS = (Load(LONE, 1, 600), Load(LONE, 32, 20), Load(8, 1, 300), Load(32, 1, 150), Load(128, 1, 60))


class Round:
    """One load from the submit to the recorded end, every step metered."""

    def __init__(self, bench: Bench, load: Load, number: int) -> None:
        self._bench = bench
        self._load = load
        self._first = number * 1_000_000
        self._name = f"job-{number}"
        self.rows: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        """Measure."""
        self._step("submit", 1, [self._bench.pack(call) for call in self._submits()])
        held = self._take()
        starts = [
            attempts.start_chunk(message, held=key, tag=tag, adopt=False, alone=False, ttl_s=TTL_S, model_id=MODEL)
            for key, tag, message in held
        ]
        self._step("start", 1, [self._bench.pack(call) for call in starts])
        polls = [records.read_job(message.job_id, place=False) for _, _, message in held]
        self._step("poll", 1, [self._bench.pack(call) for call in polls])
        self._step("finish", 1, [self._bench.pack(finish(*one)) for one in held])
        return self.rows

    def _step(self, call: str, messages: int, commands: Sequence[Command]) -> list[Any]:
        spent, answers = self._bench.meter(len(commands), lambda: self._bench.send(commands))
        whole = {"call": call, "load": self._load.name, "messages": messages, "seeds": messages * self._load.size}
        self.rows.append({**whole, **spent})
        return list(answers)

    def _submits(self) -> Iterator[Call]:
        load, priority = self._load, Priority.INTERACTIVE
        if load.size == LONE:
            for n in range(load.messages):
                seeds = range(self._first + n, self._first + n + 1)
                yield records.create_job(f"{self._name}-{n}", seeds, chunk_size=1, ttl_s=TTL_S, priority=priority)
        else:
            seeds = range(self._first, self._first + load.messages * load.size)
            yield records.create_job(self._name, seeds, chunk_size=load.size, ttl_s=TTL_S, priority=priority)

    def _take(self) -> list[tuple[str, str, ChunkMessage]]:
        """Take all messages; returns the key under which each is held, its tag there, and the message."""
        load, recording = self._load, Recording()
        client: Any = recording
        ledgers = [Ledger(client, limit=load.per_take, seeds=10**6, result_ttl_s=TTL_S) for _ in range(CONNECTIONS)]
        commands, keys = [], []
        for number in range(load.takes):
            ledger = ledgers[number % CONNECTIONS]
            ledger.take()
            commands.append(self._bench.pack(recording.call))
            keys.append(ledger.key)
        answers = self._step("take", load.per_take, commands)
        held = [(key, tag.decode()) for key, taken in zip(keys, answers, strict=True) for tag, *_ in taken]
        assert len(held) == load.messages, f"{len(held)} of {load.messages} messages were taken"
        return [(key, tag, self._message(number)) for number, (key, tag) in enumerate(held)]

    def _message(self, number: int) -> ChunkMessage:
        load = self._load
        if load.size == LONE:
            job, chunk, task = f"{self._name}-{number}", 0, f"{self._name}-{number}"
        else:
            job, chunk, task = self._name, number, chunk_task_id(self._name, number, load.messages)
        first = self._first + number * load.size
        return ChunkMessage(task, job, chunk, tuple(range(first, first + load.size)))


def finish(key: str, tag: str, message: ChunkMessage) -> Call:
    """Return the call that ends a chunk of which all seeds succeeded, as worker/results.py makes it."""
    results = [
        SeedResult(
            seed=seed,
            status=SeedStatus.SUCCEEDED,
            caption=CAPTION,
            image_uri=f"s3://seedmill/{MODEL}/seed_{seed:010d}.png",
            metadata_uri=f"s3://seedmill/{MODEL}/seed_{seed:010d}.json",
            sha256=hashlib.sha256(str(seed).encode()).hexdigest(),
            width=256,
            height=256,
            bytes=131_072,
            model_id=MODEL,
            timings=TIMINGS,
        )
        for seed in message.seeds
    ]
    text = encode_celery_result(message.task_id, "SUCCESS", chunk_result(message, results))
    published = {seed: encode_facts(CAPTION, TIMINGS) for seed in message.seeds}
    ending = Ending(len(results), 0, text, "", MODEL, published)
    return attempts.finish_chunk(message, ending, held=key, tag=tag, ttl_s=TTL_S, gallery_size=GALLERY)


@contextmanager
def running_bench() -> Iterator[Bench]:
    """Yield a bench on a Valkey of its own, with an append-only file."""
    with tempfile.TemporaryDirectory() as name:
        server = start_valkey(Path(name) / "valkey", Path(name))
        bench = Bench(server)
        try:
            yield bench
        finally:
            bench.close()
            server.process.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the server is as it should be."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server is not as it should be within {WAIT_S:g} s")
        time.sleep(0.01)


def least(rounds: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return of each row the round that took the least CPU time: what else runs on the machine can only add to it."""

    def spent(row: dict[str, Any]) -> float:
        return sum(float(value) for name, value in row.items() if name.endswith("cpu_us"))

    return [min(rows, key=spent) for rows in zip(*rounds, strict=True)]


def measure(rounds: int) -> dict[str, Any]:
    """Measure every load."""
    with running_bench() as bench:
        facts: Any = bench.control.info("server")
        version = facts.get("valkey_version", facts["redis_version"])
        Round(bench, Load(128, 1, GALLERY // 128 + 1), 999).run()  # fills the gallery
        found, number = [], 0
        for _ in range(rounds):
            rows = []
            for load in LOADS:
                number += 1
                rows += Round(bench, load, number).run()
            found.append(rows)
        return {"server": version, "calls": least(found)}
