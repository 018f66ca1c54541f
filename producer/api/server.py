"""The process of ``seedmill serve``: listens, serves the application, and ends soon when it is told to.

At its end streams are closed, whose readers come again with ``Last-Event-ID``, and those who wait are answered. It ends
within :data:`GRACE_S`, whatever a thread is at.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import threading
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from producer import __version__, logs
from producer.api.app import create_app
from producer.api.protocol import BoundedProtocol
from producer.api.services import Services
from producer.api.settings import ApiSettings
from producer.errors import SettingsError

GRACE_S = 10
"""Seconds after which the process has ended that was told to."""

REQUESTS_S = 8
"""Seconds of these that requests have to end."""

KEEP_ALIVE_S = 75
"""Seconds that a connection without a request stays open: longer than proxies keep theirs."""

BACKLOG = 2048

log = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server, which tells ``services`` when it is about to end, and may see to it that the process does."""

    def __init__(self, config: uvicorn.Config, services: Services, *, ends_process: bool = False) -> None:
        super().__init__(config)
        self._services = services
        self._ends_process = ends_process

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody wait any longer, and end when all have been answered."""
        if self._ends_process:
            watchdog = threading.Timer(GRACE_S, _give_up)
            watchdog.daemon = True
            watchdog.start()
        self._services.begin_end()
        await super().shutdown(sockets)


def serve(settings: ApiSettings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        SettingsError: it cannot be listened on the address.
    """
    logs.configure(settings)
    app = create_app(settings)
    listener = _listen(settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, _ignore
        )  # uvicorn raises them again once all is done, and then they have had their effect
    print(_greeting(settings, listener), flush=True)
    Server(server_config(app, settings), app.state.services, ends_process=True).run(sockets=[listener])


def _give_up() -> None:
    """End the process although a thread is at something that cannot be interrupted."""
    log.error("the process did not end in time and is broken off", action="broken_off")
    os._exit(1)


def server_config(app: FastAPI, settings: ApiSettings) -> uvicorn.Config:
    """Return how the application is served."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        proxy_headers=bool(settings.api_trusted_proxies),
        forwarded_allow_ips=settings.api_trusted_proxies or None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=REQUESTS_S,
        ws="none",
    )


def _listen(settings: ApiSettings) -> socket.socket:
    address = (settings.api_host, settings.api_port)
    try:
        family, kind, *_ = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        names = f"{settings.variable('api_host')}, {settings.variable('api_port')}"
        raise SettingsError(
            f"{settings.api_host}:{settings.api_port} ({names}) cannot be listened on ({error.strerror}): "
            "choose another address or port"
        ) from error
    return listener


def _greeting(settings: ApiSettings, listener: socket.socket) -> str:
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    bound, port = listener.getsockname()[:2]
    address = settings.api_public_url or f"http://{host}:{port}"
    opened = address
    if not settings.api_public_url and ipaddress.ip_address(bound).is_unspecified:
        opened = f"http://[::1]:{port}" if ":" in bound else f"http://127.0.0.1:{port}"
    return f"seedmill {__version__} listens on {address}; open {opened}/ to use it, {opened}/docs for what apps can do"


def _ignore(_: int, __: FrameType | None) -> None:
    pass
