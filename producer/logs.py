"""Log lines: a sentence, a stable ``action``, and ids; text on a terminal, JSON elsewhere. Secrets are never logged.

Lines of Celery, kombu and other libraries pass through the same formatter, with the action ``library``. What each of
our own actions means is in docs/monitoring.md. Only processes that serve load this: it needs structlog.
"""

from __future__ import annotations

import logging
import sys

import structlog

from producer.settings import LogSettings

FIRST = ("timestamp", "level", "action", "event")


def configure(settings: LogSettings) -> None:
    """Set up structlog and the standard library's logging, on standard error."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, _name_library],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _put_first_what_is_read_first,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    logging.captureWarnings(capture=True)
    for noisy in ("botocore", "boto3", "urllib3", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _name_library(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Give a line that is none of ours the action that it lacks."""
    event.setdefault("action", "library")
    return event


def _put_first_what_is_read_first(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Return the line in the order of its reader: when, how bad, what; then everything else."""
    first = {name: event.pop(name) for name in FIRST if name in event}
    return {**first, **event}
