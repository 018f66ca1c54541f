"""Which network addresses webhooks may be sent to: public ones, and those that the operator lets through.

Pure judging; nothing is resolved here. An address in which another is embedded is only as public as that one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
MAX_HOST_CHARACTERS = 253

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""What translates to IPv4: the last 32 bits are the address that is reached."""

UNICAST = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is handed out to the public so far."""

NOT_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # Azure answers its own machines there
        *("2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)
"""IANA's special-purpose addresses: what ``ipaddress`` knows of them differs from one patch of Python to the next."""


def is_public(address: Address) -> bool:
    """Whether an address, with any that is embedded in it, belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if (inner := _embedded(address)) is not None:
            return is_public(inner)
        if address not in UNICAST:
            return False
    if any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _forms(address: Address) -> Iterator[Address]:
    yield address
    if isinstance(address, ipaddress.IPv6Address) and (inner := _embedded(address)) is not None:
        yield inner


@dataclass(frozen=True, slots=True)
class Allowed:
    """Receivers that need not be public: exact host names, and networks."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read host names, addresses and networks (``10.0.0.0/8``) with commas between them.

        Raises:
            ValueError: naming the one that is none of these.
        """
        hosts: set[str] = set()
        networks: list[Network] = []
        for item in filter(None, (part.strip().lower() for part in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(item))
            except ValueError:
                if not is_host_name(item) or ends_in_number(item):
                    raise ValueError(
                        f"{item!r} is neither a host name nor a network: write hooks.example.com or 10.0.0.0/8"
                    ) from None
                hosts.add(item)
        return cls(frozenset(hosts), tuple(networks))

    def permits(self, host: str, address: Address) -> bool:
        """Whether that host, which has this address, may be sent to."""
        if host in self.hosts or is_public(address):
            return True
        return any(form in network for form in _forms(address) for network in self.networks)


def is_host_name(text: str) -> bool:
    """Whether this is a host name in lower case, or an IPv4 address."""
    return len(text) <= MAX_HOST_CHARACTERS and HOST_NAME.fullmatch(text) is not None


def ends_in_number(host: str) -> bool:
    """Whether resolvers may read this host as an IPv4 address, as they do ``127.1`` and ``0x7f000001``."""
    return re.fullmatch(r"\d+|0x[0-9a-f]*", host.rpartition(".")[2]) is not None
