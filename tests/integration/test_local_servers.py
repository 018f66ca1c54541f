"""The servers of the embedded stack are there when they are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from worker.local import servers

KEYS = 24_000
DELAY_US = 1
"""What each key takes to be loaded, at the least, by a switch that Valkey has for its own tests."""
FILL = "for key = 1, ARGV[1] do redis.call('SET', key, key) end"


def test_valkey_has_loaded_what_it_kept_when_it_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = servers.start_valkey(tmp_path / "data", tmp_path)
    with redis.Redis(port=first.port) as client:
        client.eval(FILL, 0, KEYS)
    first.process.stop()
    slow = tmp_path / "valkey-server"
    slow.write_text(f'#!/bin/sh\nexec {servers.valkey_program()} "$@" --key-load-delay {DELAY_US}\n')
    slow.chmod(0o755)
    monkeypatch.setattr(servers, "valkey_program", lambda: str(slow))
    second = servers.start_valkey(tmp_path / "data", tmp_path)
    try:
        with redis.Redis(port=second.port) as client:
            assert client.info("persistence")["loading"] == 0
            assert client.dbsize() == KEYS
    finally:
        second.process.stop()
