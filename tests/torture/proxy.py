"""A TCP proxy on 127.0.0.1 that can be told to misbehave as networks do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

RESET = struct.pack("ii", 1, 0)


class Link:
    """One connection through the proxy: two sockets, and whether it has fallen silent for ever."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = (client, server)
        self.silent = False

    def close(self) -> None:
        """End both sides with a reset."""
        for end in self.ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Forwards to a port of 127.0.0.1; what it does is changed while it runs.

    New connections go to ``target``. ``delay_s`` is added to every piece in each direction; ``hold_replies`` keeps what
    the server answers, ``hold`` keeps everything, as a network does that is cut without a word; ``refuse`` turns new
    connections away.
    """

    def __init__(self, target: int, *, delay_s: float = 0.0) -> None:
        self.target = target
        self.delay_s = delay_s
        self.hold_replies = False
        self.hold = False
        self.refuse = False
        self._links: list[Link] = []
        self._open = True
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def forget(self) -> None:
        """Let all connections fall silent for ever, as a NAT does that has lost them; new ones work."""
        for link in self._links:
            link.silent = True

    def reset(self) -> None:
        """Break all connections at once."""
        links, self._links = self._links, []
        for link in links:
            link.close()

    def close(self) -> None:
        """End."""
        self._open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = None if self.refuse else socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                server = None
            if server is None:
                client.close()
                continue
            link = Link(client, server)
            self._links.append(link)
            for source, sink, replies in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._forward, args=(link, source, sink, replies), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _forward(self, link: Link, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.delay_s:
                    time.sleep(self.delay_s)
                while self._open and (link.silent or self.hold or (replies and self.hold_replies)):
                    time.sleep(0.01)
                sink.sendall(data)
        if not link.silent:
            link.close()
