"""What ``seedmill queue`` shows, and what a job's commands remark on, where there is more than one queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from producer.cli.render import print_queue, remark_on_workers
from producer.contract import JobStatus
from producer.queue import QueueFigures, QueueStatus

OLD, NEW = QueueFigures(3, 1, 130, 1, "old-1"), QueueFigures(0, 0, 0, 0, None)
WORKER = {"queue": "default", "device": "cpu", "model_id": "old-1"}


def status(*workers: dict[str, str], **queues: QueueFigures) -> QueueStatus:
    return QueueStatus((3, 0, 0, 0), 1, 1, 2.0, 0, workers, queues)


def test_several_queues_are_shown_each_with_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    print_queue(status(WORKER, {**WORKER, "queue": "v2", "model_id": "new-1"}, default=OLD, v2=NEW))
    shown = capsys.readouterr().out
    assert "queue default: 3 messages waiting, 1 held, 130 seeds not ended, 1 worker, model old-1\n" in shown
    assert "queue v2: 0 messages waiting, 0 held, 0 seeds not ended, 0 workers\n" in shown
    assert "cpu, model new-1, queue v2\n" in shown


def test_one_queue_is_shown_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    print_queue(status(WORKER, default=OLD))
    assert "queue default" not in capsys.readouterr().out


@pytest.mark.parametrize(("queue", "words"), [("default", ""), ("v2", "no worker is seen in queue v2")])
def test_the_remark_is_on_workers_of_the_jobs_queue(queue: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    client: Any = SimpleNamespace(queue=lambda: status(WORKER, default=OLD, v2=NEW))
    job: Any = SimpleNamespace(status=JobStatus.QUEUED, queue=queue)
    remark_on_workers(client, job)
    told = capsys.readouterr().err
    assert words in told if words else told == ""
