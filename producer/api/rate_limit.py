"""How often somebody may ask: a rate with a burst (GCRA), counted in Redis for keys and in the process for addresses.

Requests are spent at a steady interval, and as many as the burst may be spent in advance.
https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict

from producer.contract import RATE_KEY_PREFIX
from producer.lua import SCRIPTS, Call

MINUTE_US = 60_000_000
MIN_BURST = 10
BURST_PART = 4
FAILURES_PER_MINUTE = 30
MAX_ADDRESSES = 10_000
IPV6_NETWORK_BITS = 64
"""What one subscriber has of IPv6 counts as one address."""


def spend(key_id: str, per_minute: int) -> Call:
    """Spend a request of an API key: a quarter of a minute's may come at once, or ten if that is more.

    Answers 0 if it may be made, else the milliseconds after which it may.
    """
    interval_us = -(-MINUTE_US // per_minute)
    burst = max(MIN_BURST, per_minute // BURST_PART)
    return Call(SCRIPTS["rate_limit"], [RATE_KEY_PREFIX + key_id], [interval_us, burst])


class FailureLimit:
    """Failed attempts of each client address; those that failed longest ago are forgotten first.

    Thirty may come at once, and then one every two seconds. Times are in seconds of a clock that never goes back.
    """

    def __init__(self) -> None:
        self._spent_until: OrderedDict[str, float] = OrderedDict()

    def retry_after_s(self, address: str, now: float) -> int:
        """Return the whole seconds after which the address may fail again; 0 if it may now."""
        ahead = self._spent_until.get(network_of(address), now) - now
        return max(0, math.ceil(round(ahead + 60 / FAILURES_PER_MINUTE - 60, 3)))

    def count(self, address: str, now: float) -> None:
        """Note that an attempt of the address has failed."""
        network = network_of(address)
        self._spent_until[network] = max(self._spent_until.pop(network, now), now) + 60 / FAILURES_PER_MINUTE
        if len(self._spent_until) > MAX_ADDRESSES:
            self._spent_until.popitem(last=False)


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address itself, the /64 of one of IPv6; other texts as they are."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed, IPV6_NETWORK_BITS), strict=False))
