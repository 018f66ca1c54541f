"""A bench whose Valkey has a replica, and a Sentinel that makes it the primary when the other is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.torture.bench import Bench, wait_until
from worker.local.process import Process, free_port
from worker.local.servers import Server, start_valkey, valkey_program

SERVICE = "pictures"
DOWN_AFTER_MS = 3000
"""Milliseconds without an answer after which the primary counts as gone: more than a busy machine makes it wait."""


class WatchedBench(Bench):
    """Servers and stand-in workers, which reach Valkey by way of the Sentinel; ``valkey`` is the first primary."""

    replica: Server
    sentinel: Server

    @property
    def redis_url(self) -> str:
        """Where clients and workers are told that Redis is."""
        return f"sentinel://127.0.0.1:{self.sentinel.port}/0?service_name={SERVICE}"

    def start_valkey(self) -> None:
        """Start primary, replica and Sentinel; returns when the replica has what the primary has."""
        super().start_valkey()
        with plain(self.valkey) as client:
            client.config_set("repl-diskless-sync-delay", 0)  # it waits five seconds for more replicas
        self.replica = start_valkey(self.folder / "replica", self.folder)
        with plain(self.replica) as client:
            client.replicaof("127.0.0.1", self.valkey.port)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "a replica")
        self.sentinel = start_sentinel(self.folder, self.valkey.port)
        with plain(self.sentinel) as client:
            wait_until(lambda: int(masters(client)["num-slaves"]) == 1, "a Sentinel that knows the replica")

    def fail_over(self) -> None:
        """Have the Sentinel change the roles while both servers live; the old primary is left to itself for a while."""
        with plain(self.sentinel) as client:
            client.execute_command("SENTINEL", "FAILOVER", SERVICE)

    def primary_port(self) -> int:
        """Return the port of the server that the Sentinel calls the primary."""
        with plain(self.sentinel) as client:
            return int(masters(client)["port"])

    def close(self) -> None:
        """End everything."""
        super().close()
        for server in (self.sentinel, self.replica):
            server.process.stop()


def masters(client: redis.Redis) -> dict[str, Any]:
    """Return what a Sentinel says of the primary."""
    found: Any = client.sentinel_masters()
    return dict(found[SERVICE])


def start_sentinel(folder: Path, watched: int, *more: str) -> Server:
    """Start a Sentinel that decides alone, with more lines in its configuration; returns when it answers."""
    config = folder / "sentinel.conf"
    lines = [
        f"sentinel monitor {SERVICE} 127.0.0.1 {watched} 1",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {SERVICE} 10000",
        *more,
    ]
    config.write_text("\n".join(lines) + "\n")
    return start_redis(folder, "sentinel", str(config), "--sentinel")


def start_redis(folder: Path, name: str, *arguments: str) -> Server:
    """Start Valkey with these arguments on a free port of 127.0.0.1; returns when it answers, be it with a refusal."""
    port = free_port()
    fixed = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "")
    process = Process(name, [valkey_program(), *arguments, *fixed], log=folder / f"{name}.log")
    server = Server(process, port)

    def answers() -> bool:
        with plain(server) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                return False

    process.wait_ready(answers, timeout_s=20)
    return server


def plain(server: Server) -> redis.Redis:
    """Return a client of one server, whatever its role is."""
    return redis.Redis(port=server.port, decode_responses=True)


@contextmanager
def running_watched_bench(folder: Path) -> Iterator[WatchedBench]:
    """Yield such a bench in this folder; it ends with the block."""
    bench = WatchedBench(folder)
    try:
        yield bench
    finally:
        bench.close()
