"""The heartbeat file: what it says, and when it is not written."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from worker.errors import SetupError
from worker.monitoring import heartbeat
from worker.monitoring.heartbeat import HUNG_S, Heartbeat, State, read_health


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def is_written(beats: Heartbeat, path: Path) -> bool:
    path.unlink(missing_ok=True)
    beats.beat()
    return path.exists()


def test_a_loop_that_does_not_turn_lets_the_file_grow_old(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "heartbeat"
    beats = Heartbeat(path)
    clock[0] += 10 * HUNG_S
    assert is_written(beats, path), "a large model may take long to load"
    beats.begin(State.SERVING)
    clock[0] += HUNG_S - 1
    assert is_written(beats, path)
    clock[0] += 2
    assert not is_written(beats, path)
    beats.turned()
    assert is_written(beats, path)
    beats.state = State.STOPPING
    clock[0] += 2 * HUNG_S
    assert is_written(beats, path), "who stops takes no more, and has a limit of its own"


def test_the_file_names_state_and_process_and_is_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run" / "heartbeat"
    beats = Heartbeat(path)
    beats.begin(State.SERVING)
    found = read_health(path)
    assert (found.state, found.pid) == (State.SERVING, os.getpid())
    assert found.age_s < 5
    os.utime(path, (1, 1))
    assert read_health(path).age_s > 1e6
    beats.end()
    with pytest.raises(SetupError, match="is not there"):
        read_health(path)


def test_without_a_file_nothing_is_written() -> None:
    beats = Heartbeat(None)
    beats.begin(State.SERVING)
    beats.end()


def test_two_threads_may_beat_at_once(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    beats = Heartbeat(path)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(beats.begin, state) for state in 300 * list(State)]:
            done.result()
    assert read_health(path).pid == os.getpid()
    assert list(tmp_path.iterdir()) == [path]


def test_a_beat_that_says_the_same_takes_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "heartbeat"
    beats = Heartbeat(path)
    beats.beat()
    os.utime(path, (1, 1))
    monkeypatch.setattr(heartbeat, "write_atomically", lambda *_: pytest.fail("it is written anew"))
    beats.beat()
    assert read_health(path).age_s < 5
    monkeypatch.undo()
    path.unlink()
    beats.beat()
    assert path.exists(), "what was removed is written again"
