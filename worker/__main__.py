"""``python -m worker COMMAND``: finds the command and runs it.

Commands are imported one at a time, so that those without a model start without loading torch; this module itself
needs the standard library alone, so that it can say what is missing.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import FrameType

COMMANDS = {
    "run": "Load the model, then serve the queue.",
    "generate": "Generate pictures without any queue, by seed or at a prompt.",
    "verify": "Generate published seeds again and compare.",
    "checkpoint": "Make or inspect a checkpoint.",
    "health": "Tell by its heartbeat file whether the worker works.",
    "doctor": "Check this machine and its settings.",
    "local": "Run the whole stack here, without Docker.",
    "demo": "Run the whole stack once and show pictures.",
}
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str]) -> None:
    """Run the command that ``arguments`` name, and leave the process with its exit status."""
    signal.signal(signal.SIGTERM, _leave)
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
    elif name in COMMANDS:
        run(name, rest)
    else:
        close = get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        sys.exit(fail(f"python -m worker: there is no command {name!r}.{hint}\n\n{usage()}", EXIT_USAGE))


def run(name: str, arguments: Sequence[str]) -> None:
    """Import a command and run it."""
    if name == "health":
        sys.exit(import_module("worker.commands.health").main(arguments))
    try:
        runner = import_module("producer.cli.runner")
        command = import_module(f"worker.commands.{name}")
    except ModuleNotFoundError as error:
        if "--debug" in arguments or error.name is None or error.name.split(".")[0] in ("producer", "worker"):
            raise
        advice = "use .venv/bin/python (make demo makes it), or pip install -r requirements/worker.txt ."
        sys.exit(fail(f"python -m worker: {error.name} is not installed for {sys.executable}: {advice}", EXIT_FAILED))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    runner.run(command.app, f"python -m worker {name}", arguments)


def _leave(number: int, _: FrameType | None) -> None:
    """End also as process 1 of a container, which the kernel spares a signal that nobody handles."""
    sys.exit(128 + number)


def usage() -> str:
    """Return the list of commands."""
    rows = "\n".join(f"  {name:<12}{purpose}" for name, purpose in COMMANDS.items())
    return (
        "Usage: python -m worker COMMAND [OPTIONS]\n\nThe worker's side of seedmill: the model, the service, and what "
        f"helps to set them up.\n\n{rows}\n\nCOMMAND --help tells more; --debug shows tracebacks."
    )


def fail(message: str, status: int) -> int:
    """Print a message to standard error; returns the exit status."""
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    main(sys.argv[1:])
