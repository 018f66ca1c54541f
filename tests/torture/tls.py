"""A second address of a server: as it is, or speaking TLS with a certificate made for the occasion."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme


@contextmanager
def second_address_of(port: int) -> Iterator[str]:
    """Yield the URL of another port of 127.0.0.1 that leads to this one."""
    server = Forwarder(port)
    server.start()
    server.ready.wait(5)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


@contextmanager
def tls_in_front_of(port: int, folder: Path, *, demand_certificate: bool = False) -> Iterator[tuple[int, Path]]:
    """Yield a port of 127.0.0.1 that takes TLS alone, and the file with the authority to trust.

    Beside it is ``client.pem``, key and certificate of a client, which may be demanded.
    """
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(str(folder / "client.pem"))
    if demand_certificate:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    server = Forwarder(port, context)
    server.start()
    server.ready.wait(5)
    try:
        yield server.port, ca_file
    finally:
        server.stop()


class Forwarder(threading.Thread):
    """The server, in a thread with an event loop of its own."""

    def __init__(self, target: int, context: ssl.SSLContext | None = None) -> None:
        super().__init__(daemon=True)
        self.ready = threading.Event()
        self.port = 0
        self._target = target
        self._context = context

    def run(self) -> None:
        """Serve until :meth:`stop`; open connections end with it."""
        asyncio.run(self._serve())

    def stop(self) -> None:
        """End, and wait for it."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self.join()

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self._stopped.wait()
        server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(_forward(reader, to_behind), _forward(behind, writer))


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()
