"""``python -m worker COMMAND``: finds the command and runs it.

Commands are imported one at a time, so that those without a model start without loading torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from rich.console import Console
from rich.table import Table

from producer.cli.runner import EXIT_USAGE, run

COMMANDS = {
    "run": "Load the model, then serve the queue.",
    "generate": "Generate pictures without any queue, by seed or at a prompt.",
    "verify": "Generate published seeds again and compare.",
    "checkpoint": "Make or inspect a checkpoint.",
    "doctor": "Check this machine and its settings.",
    "local": "Run the whole stack here, without Docker.",
    "demo": "Run the whole stack once and show pictures.",
}


def main(arguments: Sequence[str]) -> None:
    """Run the command that ``arguments`` name."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        usage(Console())
    elif name in COMMANDS:
        run(import_module(f"worker.commands.{name}").app, f"python -m worker {name}", rest)
    else:
        usage(Console(stderr=True), f"python -m worker: no command {name!r}; there are:")
        sys.exit(EXIT_USAGE)


def usage(console: Console, heading: str = "Usage: python -m worker COMMAND [--help] [--debug]") -> None:
    """Print the commands."""
    console.print(heading, highlight=False)
    table = Table(box=None, show_header=False)
    for name, purpose in COMMANDS.items():
        table.add_row(name, purpose)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
