"""Spans of the command itself, sent before it ends; see producer/otel.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from producer.cli.render import console
from producer.otel import open_export

SERVICE = "seedmill"

FLUSH_S = 1.0
"""Seconds that a command waits for the collector at its end."""


@contextmanager
def sending_spans() -> Iterator[None]:
    """Send the spans that are made inside, if the environment names a collector; whatever hinders that is a remark."""
    export = open_export(SERVICE, _remark)
    try:
        yield
    finally:
        if export is not None and not export.close(FLUSH_S):
            _remark("the collector of traces does not answer, the span of this submit is lost")


def _remark(text: str) -> None:
    console(stderr=True).print(f"seedmill: {text}", markup=False)
