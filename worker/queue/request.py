"""Celery's request for a chunk, without what Celery does to the fate of a message by itself.

Stock Celery acknowledges a revoked or expired message without a word to anyone but its result, which loses a chunk for
its job, and stores a result if the sender's header asks for it, over the one that the handler has stored. Here both are
the handler's (worker/task.py), and the event of the end is the one that it has noted (worker/monitoring/report.py).
"""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from worker.monitoring.report import SUCCEEDED, Report, noted


class ChunkRequest(Request):  # type: ignore[misc]  # celery has no types
    """A request whose message is settled, and whose result is stored, by the handler alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ignore_result = True
        self._request_dict["ignore_result"] = True
        self._has_told = False

    def revoked(self) -> bool:
        """Return that it is to be run: the handler looks after what was revoked or has expired."""
        return False

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  # celery's signature
        """Send an event; in place of a success what the handler has noted, or nothing if it has told that itself."""
        if type == SUCCEEDED and self._has_told:
            return
        if type == SUCCEEDED and (report := noted()):
            kept = {"runtime": fields.get("runtime")} if report.event == SUCCEEDED else {}
            type, fields = report.event, {**kept, **report.fields}  # noqa: A001
        super().send_event(type, **fields)

    def tell(self, report: Report) -> None:
        """Send what became of the chunk, while its task still runs."""
        self._has_told = True
        super().send_event(report.event, **report.fields)
