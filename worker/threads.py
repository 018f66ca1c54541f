"""Thread pools that are whole from the start: what cannot be had is an error then, and not amid the work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from worker.errors import SetupError


def started_pool(
    threads: int, name: str, *, setting: str, prepare: Callable[[], object] | None = None
) -> ThreadPoolExecutor:
    """Return a pool whose threads all run already, each after a call of ``prepare`` in it.

    Args:
        threads: how many.
        name: what their names begin with.
        setting: environment variable that says how many, for the message.
        prepare: called in each thread.

    Raises:
        SetupError: if they cannot all be started.
    """
    started = Barrier(threads + 1)

    def start() -> None:
        if prepare is not None:
            prepare()
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=start)
    try:
        for _ in range(threads):
            pool.submit(int)
    except RuntimeError as error:
        started.abort()
        raise SetupError(f"{threads} threads cannot be started ({error}): lower {setting}") from error
    started.wait()
    return pool
