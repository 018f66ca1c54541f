"""A pool of threads without holes: whatever escapes a task, its message is given back and its place is free again.

Celery's own threads pool drops what escapes: the place stays taken, the message is held for ever, nobody is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.worker.state import task_ready

from worker.monitoring import report

log = structlog.get_logger(__name__)

PAUSE_S = 1.0
"""Pause before a message goes back whose task was left by an error, so that one that always does cannot spin."""


class TaskPool(ThreadPool):  # type: ignore[misc]  # celery has no types
    """Runs Celery's tasks in threads."""

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> ApplyResult:
        """Run a task in a thread; time limits, which threads do not have, are ignored."""
        return ApplyResult(self.executor.submit(_run, target, args or (), kwargs, callback, accept_callback))

    def _get_info(self) -> dict[str, Any]:
        """Return what monitors show of the pool; its one process as well, as those of Celery's other pools do."""
        return {**super()._get_info(), "processes": [os.getpid()]}

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Do nothing: a thread cannot be ended, and a cold shutdown must not fail over it."""


def _run(
    target: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    callback: Callable[..., Any] | None,
    accept_callback: Callable[..., Any] | None,
) -> None:
    report.begin(getattr(getattr(callback, "__self__", None), "tell", None))
    try:
        apply_target(target, args, kwargs, callback, accept_callback)
    except BaseException:  # also what no task should raise: the thread lives on, and the place is free again
        log.exception("an error left its task", action="task_escaped")
        _clean_up(getattr(callback, "__self__", None))


def _clean_up(request: Any) -> None:
    """Free the place of a request and give its message back, unless that was done; ``None`` where there is none."""
    if request is None or request.acknowledged:
        return
    time.sleep(PAUSE_S)
    try:
        task_ready(request)
        request.reject(requeue=True)
    except Exception:
        log.exception("a message could not be given back", action="give_back_failed")
