"""The servers of the embedded stack are there when they are said to be."""

from __future__ import annotations

from pathlib import Path

import redis

from worker.local.servers import start_valkey

KEYS = 150_000
FILL = "for key = 1, ARGV[1] do redis.call('SET', key, key) end"


def test_valkey_has_loaded_what_it_kept_when_it_has_started(tmp_path: Path) -> None:
    first = start_valkey(tmp_path / "data", tmp_path)
    with redis.Redis(port=first.port) as client:
        client.eval(FILL, 0, KEYS)
    first.process.stop()
    second = start_valkey(tmp_path / "data", tmp_path)
    try:
        with redis.Redis(port=second.port) as client:
            assert client.dbsize() == KEYS, "it does not answer that it is still loading"
    finally:
        second.process.stop()
