"""What a receiver gets: the event as JSON, and the headers that Standard Webhooks wants, signed over the bytes sent.

The id of an event is the same in every attempt, so that who gets it twice can tell; a job that runs again and ends
again is another event.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from standardwebhooks import Webhook

from producer import __version__
from producer.api.documents import summary
from producer.contract import JobStatus
from producer.job import JobRecord

EVENTS: Mapping[JobStatus, str] = {
    JobStatus.SUCCEEDED: "job.completed",
    JobStatus.FAILED: "job.failed",
    JobStatus.CANCELED: "job.canceled",
}
"""Types of events by the status that a job ended with."""


@dataclass(frozen=True, slots=True)
class Event:
    """The end of a job, as it is told; ``body`` is what is signed and sent."""

    id: str
    type: str
    body: bytes

    @classmethod
    def of(cls, record: JobRecord) -> Event | None:
        """Return the event of a job's end, or ``None`` while it has not ended, or has expired."""
        if record.status not in EVENTS or record.completed_at is None:
            return None
        at = record.completed_at.isoformat()
        data = {**record.to_dict(), "webhook": record.webhook, "error": summary(record)}
        facts = {"type": EVENTS[record.status], "timestamp": at, "data": data}
        body = json.dumps(facts, separators=(",", ":")).encode()
        name = hashlib.sha256("\n".join((record.id, record.status, at)).encode()).hexdigest()[:32]
        return cls(f"msg_{name}", EVENTS[record.status], body)

    def headers(self, secrets: Sequence[str], now: datetime) -> dict[str, str]:
        """Return the headers of an attempt at that time, with a signature by each of these secrets."""
        text = self.body.decode()
        return {
            "content-type": "application/json",
            "user-agent": f"seedmill/{__version__}",
            "webhook-id": self.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(Webhook(secret).sign(self.id, now, text) for secret in secrets),
        }
