"""What Celery's monitors see of a worker: its name, and its last events."""

from __future__ import annotations

import os
import socket
from typing import Any

from celery import bootsteps
from celery.utils.nodenames import host_format
from celery.worker.consumer.events import Events


def node_name(name: str) -> str:
    """Return a worker's name; by default one that no other worker on this host has.

    Workers of equal name are one to monitors, and answer remote control commands as one.
    """
    return str(host_format(name)) if name else f"seedmill-{os.getpid()}@{socket.gethostname()}"


class LastEvents(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """Sends the events of what ended after the loop had.

    Celery forgets those, and monitors go on showing such tasks as running.
    """

    requires = (Events,)

    def shutdown(self, consumer: Any) -> None:
        """Send what is in the buffer, before the connection is closed."""
        if consumer.event_dispatcher:
            consumer.event_dispatcher.flush()
