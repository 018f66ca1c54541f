"""URLs of webhooks, read once: what was checked is what is sent to.

Only what every parser reads alike is a URL here: printable ASCII, no user or password, no ``#``, a port in digits.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from producer.api.webhooks.addresses import Address, Allowed, ends_in_number, is_host_name
from producer.api.webhooks.settings import WebhookSettings
from producer.errors import SettingsError

MAX_URL_CHARACTERS = 2048
SHOWN_CHARACTERS = 200

URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<host>[a-z0-9_.-]+))(?::(?P<port>\d{1,5}))?"
    r"(?P<target>(?:[/?][!$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]*)?)",
    re.ASCII | re.IGNORECASE,
)
PORTS = {"https": 443, "http": 80}
LOOPBACK = ipaddress.ip_address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is sent to: ``host`` in lower case, an IPv6 address without brackets, ``path`` with its query."""

    scheme: str
    host: str
    port: int
    path: str
    literal: Address | None

    @property
    def authority(self) -> str:
        """Host and port as the header ``Host`` names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def shown(url: str) -> str:
    """Return a URL as messages and logs may have it: without user, password and query."""
    return re.sub(r"//[^/]*@", "//***@", re.split(r"[?#]", url)[0])[:SHOWN_CHARACTERS]


def host_of(url: str) -> str:
    """Return host and port of a URL as it names them, in lower case, as producer/scripts/claim_webhook.lua does."""
    match = re.match(r"[A-Za-z]+://([^/?]+)", url)
    return match[1].lower() if match else ""


def check_webhook_url(url: str, settings: WebhookSettings) -> Target:
    """Return where a webhook is sent to. Names are not resolved: their addresses are judged when it is sent.

    Raises:
        SettingsError: naming the URL, and what is wrong with it.
    """
    try:
        return _read(url, settings)
    except ValueError as error:
        raise SettingsError(f"webhook {shown(url)!r}: {error}") from None


def _read(url: str, settings: WebhookSettings) -> Target:
    if len(url) > MAX_URL_CHARACTERS:
        raise ValueError(f"it has {len(url)} characters: use at most {MAX_URL_CHARACTERS}")
    if re.match(r"[^/]*//[^/?#]*@", url):
        raise ValueError("leave out user and password: who sends is told by the signature")
    match = URL.fullmatch(url) if url.isascii() else None
    if match is None:
        raise ValueError("write https://host[:port]/path, other characters than those of URLs as %XX or xn--, no #")
    scheme, port = match["scheme"].lower(), int(match["port"] or PORTS[match["scheme"].lower()])
    if scheme == "http" and not settings.webhook_allow_http:
        raise ValueError("begin it with https:// (SEEDMILL_WEBHOOK_ALLOW_HTTP=true lets http:// through)")
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is not one of 1 to 65535")
    host = (match["ipv6"] or match["host"]).lower()
    literal = _literal(host, ipv6=bool(match["ipv6"]))
    _check_literal(host, literal, settings.webhook_receivers)
    path = match["target"]
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}", literal)


def _literal(host: str, *, ipv6: bool) -> Address | None:
    if not ipv6 and not ends_in_number(host):
        if not is_host_name(host):
            raise ValueError(f"{host!r} is not a host name")
        return None
    try:
        return ipaddress.IPv6Address(host) if ipv6 else ipaddress.IPv4Address(host)
    except ValueError:
        raise ValueError(f"{host!r} is not an address") from None


def _check_literal(host: str, literal: Address | None, allowed: Allowed) -> None:
    local = host == "localhost" or host.endswith(".localhost")
    address = LOOPBACK if local else literal
    if address is not None and not allowed.permits(host, address):
        raise ValueError("its address is not public; SEEDMILL_WEBHOOK_ALLOWED_HOSTS lets receivers in-house through")
