"""What those outside see of a worker: never more than is so."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from producer.errors import SettingsError
from producer.queue import QueueFigures, QueueStatus
from tests.unit.fakes import MODEL
from worker.errors import FileError, SetupError
from worker.local.process import free_port
from worker.monitoring import metrics
from worker.monitoring.heartbeat import State, read_health
from worker.monitoring.windows import Windows
from worker.service import Service
from worker.settings import WorkerSettings


class Model:
    info = MODEL
    device = "cpu"

    def memory_used(self) -> int:
        raise RuntimeError("CUDA error: device-side assert triggered")

    def memory_limit(self) -> int:
        return 7


def sample(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    return Windows(WorkerSettings.load(heartbeat_file=tmp_path / "heartbeat"))


def show(windows: Windows, takes: list[bool]) -> None:
    ledger: Any = type("Ledger", (), {"held": 3, "held_seeds": 40})
    windows.show(Model(), ledger, lambda: 5, lambda: all(takes))


def test_ready_is_who_serves_and_takes(windows: Windows) -> None:
    takes = [True]
    show(windows, takes)
    assert sample("seedmill_worker_ready") == 0, "it starts"
    windows.serving()
    assert sample("seedmill_worker_ready") == 1
    takes.append(False)
    assert sample("seedmill_worker_ready") == 0, "told to take nothing for a while"
    takes.pop()
    windows.stopping()
    assert sample("seedmill_worker_ready") == 0
    windows.serving()
    assert windows.heartbeat.state is State.STOPPING, "a signal came before it was ready"


def test_a_device_that_fails_leaves_the_other_metrics(windows: Windows) -> None:
    show(windows, [True])
    assert math.isnan(sample("seedmill_device_memory_bytes", kind="used") or 0)
    assert sample("seedmill_device_memory_bytes", kind="limit") == 7
    assert sample("seedmill_in_flight_seeds") == 40
    assert b"seedmill_line_seeds 5.0" in generate_latest(metrics.REGISTRY)


def test_a_beat_that_cannot_be_written_does_not_keep_a_worker_from_serving(windows: Windows, tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    path.mkdir()
    (path / "in the way").touch()
    windows.serving()
    assert windows.heartbeat.state is State.SERVING
    (path / "in the way").unlink()
    path.rmdir()
    windows.heartbeat.beat()
    assert read_health(path).state is State.SERVING


def test_what_opens_in_part_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    windows = Windows(WorkerSettings.load(heartbeat_file=path, metrics_port=free_port(), metrics_host="a..b"))
    with pytest.raises(SetupError, match="SEEDMILL_METRICS_HOST"):
        windows.open()
    assert path.exists()
    windows.close()
    assert not path.exists()
    path.mkdir()
    (path / "in the way").touch()
    windows = Windows(WorkerSettings.load(heartbeat_file=path))
    with pytest.raises(SetupError, match="SEEDMILL_HEARTBEAT_FILE"):
        windows.open()
    windows.close()


def test_what_nobody_has_asked_redis_for_is_no_number() -> None:
    metrics.show_queue(None)
    assert sample("seedmill_redis_up") == 0
    for name in ("workers", "dead_letters", "jobs_active", "oldest_job_age_seconds", "queue_held_messages"):
        assert math.isnan(sample(f"seedmill_{name}") or 0)


def test_each_queue_has_numbers_of_its_own_as_long_as_it_is_seen() -> None:
    def seen(*names: str) -> QueueStatus:
        queues = {name: QueueFigures(2, 1, 70, 3, "model") for name in names}
        return QueueStatus((2, 0, 0, 0), 1, 1, 0.0, 0, (), queues)

    def told() -> dict[str, float]:
        found = re.findall(
            r'seedmill_queue_backlog_seeds{queue="(.*)"} (.*)', generate_latest(metrics.REGISTRY).decode()
        )
        return {name: float(value) for name, value in found}

    metrics.show_queue(seen("default", "v2"))
    assert told() == {"default": 70, "v2": 70}
    assert 'seedmill_queue_workers{queue="v2"} 3.0' in generate_latest(metrics.REGISTRY).decode()
    metrics.show_queue(seen("default"))
    assert told() == {"default": 70}
    metrics.show_queue(None)
    assert told() == {}, "nobody knows"


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(SettingsError, match="metrics_port"):
        WorkerSettings.load(metrics_port=port)


def test_a_worker_that_cannot_begin_gives_everything_back_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_: Service) -> None:
        raise FileError("no space left")

    left: list[int] = []
    monkeypatch.setattr(Service, "_begin", break_off)
    monkeypatch.setattr(Service, "_leave_at_once", lambda _: left.append(1))
    Service(WorkerSettings.load(), lambda _: pytest.fail("nothing is loaded"))._on_ready()
    assert left == [1]
