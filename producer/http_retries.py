"""When a request to the API is sent again, and for how long; what may be repeated, producer/http_calls.py decides.

stamina counts the attempts, and of the package this module alone knows it. Its hooks, which may write to standard
output, are those of the app and are not told of ours: these are logged, for debugging.
"""

from __future__ import annotations

import logging
import math
import random
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NoReturn

import stamina
from stamina.instrumentation import RetryDetails, RetryHook, get_on_retry_hooks, set_on_retry_hooks

from producer.http_calls import Failure, Request

ATTEMPTS = 5
RETRYING_S = 20.0
"""Seconds after which no further attempt begins, beyond those that a single one may take."""

FIRST_PAUSE_S = 0.3
JITTER_S = 0.5

LATE_S = 1.0
"""How long after the end of its time an answer may still come that was asked for before."""

logger = logging.getLogger("producer.http_backend")


class Patience:
    """The time that one call has for its attempts; ``within_s`` is as much as its caller has, ``None`` any."""

    def __init__(self, request: Request, within_s: float | None) -> None:
        self._answer_s = request.answer_s
        self._end = math.inf if within_s is None else time.monotonic() + within_s
        self._failures: list[Failure] = []

    def attempts(self) -> Any:
        """Return stamina's attempts, to go through with ``for`` or ``async for``."""
        return stamina.retry_context(on=self._pause, attempts=ATTEMPTS, timeout=RETRYING_S + self._answer_s)

    def answer_s(self) -> float:
        """Return how long the attempt that begins now may wait for its answer.

        Raises:
            Failure: the time is over; it is the last one, and final.
        """
        left_s = self._end - time.monotonic()
        if self._failures and left_s <= 0:
            last = self._failures[-1]
            raise Failure(last.error, None) from last.__cause__
        return min(self._answer_s, max(0.0, left_s) + LATE_S)

    def _pause(self, error: Exception) -> bool | float:
        """Tell stamina when to try again: as late as the server asks, not all at once, not after the end."""
        if not isinstance(error, Failure) or error.pause_s is None:
            return False
        _keep_from_hooks()
        pause_s = error.pause_s or FIRST_PAUSE_S * 2 ** len(self._failures)
        self._failures.append(error)
        left_s = self._end - time.monotonic()
        return min(pause_s + random.uniform(0, JITTER_S), left_s) if left_s > 0 else False  # noqa: S311


@dataclass(frozen=True)
class _NotOurs:
    """A hook of stamina or of the app, for retries that are not ours."""

    hook: RetryHook

    def __call__(self, details: RetryDetails) -> AbstractContextManager[None] | None:
        return None if isinstance(details.caused_by, Failure) else self.hook(details)


def _log(details: RetryDetails) -> None:
    if isinstance(details.caused_by, Failure):
        logger.debug("asking again in %.1f s: %s", details.wait_for, details.caused_by)


def _keep_from_hooks() -> None:
    """Wrap the hooks that are there, which is done before each retry, as an app may set others at any time."""
    hooks = get_on_retry_hooks()
    others = [hook if isinstance(hook, _NotOurs) else _NotOurs(hook) for hook in hooks if hook is not _log]
    wanted: tuple[RetryHook, ...] = (_log, *others)
    if wanted != hooks:
        set_on_retry_hooks(wanted)


def give_up(failure: Failure) -> NoReturn:
    """Raise what a failure is to the caller."""
    raise failure.error from failure.__cause__
