"""Hosts of a network on this machine: network namespaces on one switch, whose cables can be pulled.

Each host is a namespace with an address and nothing else of a machine: processes, files and clock are those of all.
The switch is a namespace of its own, so that no firewall here has a say, and one cable leads from it to this process.
Needs Linux, iproute2 and the rights of root. What an earlier process left behind is removed by the next one.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

NETWORK = ipaddress.ip_network("198.18.0.0/15")
"""Addresses that are kept for tests of network devices (RFC 2544); each process has eight of them."""

PLACES = 8
PREFIX = "seedmill"
SWITCH = "switch"
BRIDGE = "bridge"
CARD = "card0"


class NoHosts(Exception):
    """This machine has no rights or no program to make hosts."""


class Hosts:
    """Hosts by name, which reach each other until the cable of one is pulled; made by :func:`running_hosts`."""

    def __init__(self, names: Sequence[str]) -> None:
        first = int(NETWORK.network_address) + PLACES * (os.getpid() % (NETWORK.num_addresses // PLACES))
        free = iter(ipaddress.ip_network((first, 29)).hosts())
        self._mine = str(next(free))
        self.addresses = {name: str(next(free)) for name in names}
        self._cable = f"mill{os.getpid()}"

    def build(self) -> None:
        """Make the switch and the hosts, and connect them.

        Raises:
            NoHosts: saying what this machine refuses.
        """
        try:
            self._add(SWITCH)
            ip("-netns", namespace(SWITCH), "link", "add", BRIDGE, "type", "bridge")
        except subprocess.CalledProcessError as error:
            raise NoHosts(f"no network namespaces here: {error.stderr.strip()}") from error
        self._set_port(BRIDGE, "up")
        ip("link", "add", self._cable, "type", "veth", "peer", "name", "out", "netns", namespace(SWITCH))
        self._plug("out")
        ip("address", "add", f"{self._mine}/29", "dev", self._cable)
        ip("link", "set", "dev", self._cable, "up")
        for name, address in self.addresses.items():
            self._add(name)
            host = ("-netns", namespace(name))
            ip(*host, "link", "add", CARD, "type", "veth", "peer", "name", name, "netns", namespace(SWITCH))
            self._plug(name)
            ip(*host, "address", "add", f"{address}/29", "dev", CARD)
            ip(*host, "link", "set", "dev", CARD, "up")

    def within(self, name: str) -> list[str]:
        """Return the words that, before a command, have it run on a host; it has the process id of the command."""
        return [program(), "netns", "exec", namespace(name)]

    def cut(self, name: str) -> None:
        """Pull the cable of a host: whatever is on its way is lost, and nobody is told."""
        self._set_port(name, "down")

    def heal(self, name: str) -> None:
        """Put the cable of a host in again."""
        self._set_port(name, "up")

    def power_off(self, name: str) -> None:
        """End a host without a word: not even the end of its connections reaches another one."""
        self.cut(name)
        end_all(namespace(name))

    def close(self) -> None:
        """End what runs on the hosts, and remove them."""
        for name in (*self.addresses, SWITCH):
            if Path("/run/netns", namespace(name)).exists():
                remove(namespace(name))
        if Path("/sys/class/net", self._cable).exists():  # it would go with the switch, but some time later
            with suppress(subprocess.CalledProcessError):
                ip("link", "delete", "dev", self._cable)

    def _add(self, name: str) -> None:
        ip("netns", "add", namespace(name))
        ip("-netns", namespace(name), "link", "set", "dev", "lo", "up")

    def _plug(self, port: str) -> None:
        self._set_port(port, "master", BRIDGE, "up")

    def _set_port(self, port: str, *words: str) -> None:
        ip("-netns", namespace(SWITCH), "link", "set", "dev", port, *words)


@contextmanager
def running_hosts(*names: str) -> Iterator[Hosts]:
    """Yield hosts of these names; they end with the block.

    Raises:
        NoHosts: saying what is missing.
    """
    remove_leftovers()
    hosts = Hosts(names)
    try:
        hosts.build()
        yield hosts
    finally:
        hosts.close()


def namespace(name: str, pid: int | None = None) -> str:
    """Return the name of a host's namespace, which says whose it is."""
    return f"{PREFIX}-{pid or os.getpid()}-{name}"


def program() -> str:
    """Return the path of iproute2's program."""
    found = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise NoHosts("no ip program: install iproute2")
    return found


def ip(*words: str) -> str:
    """Run iproute2's program; returns what it says."""
    return subprocess.run([program(), *words], check=True, capture_output=True, text=True, timeout=30).stdout


def end_all(name: str) -> None:
    """End every process of a namespace with SIGKILL."""
    for pid in ip("netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def remove(name: str) -> None:
    """Remove a namespace and what runs in it."""
    end_all(name)
    ip("netns", "delete", name)


def remove_leftovers() -> None:
    """Remove the namespaces of processes that have ended without doing so."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*-*"):
        found = re.match(rf"{PREFIX}-(\d+)-", path.name)
        if found and not Path("/proc", found[1]).exists():
            with suppress(subprocess.CalledProcessError):
                remove(path.name)
