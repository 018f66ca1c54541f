"""What keeps pages in a browser from an API that asks for no key: the names and origins under which it may be asked.

A page can make a name of its own mean 127.0.0.1 (DNS rebinding) and would then read what it asks for; the name stands
in ``Host``. It can also send a form to any address; its own stands in ``Origin`` then.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from producer.api.access_settings import AccessSettings, is_address
from producer.api.answers import problem_response
from producer.problems import Problem, protocol
from producer.seeds import shorten

HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
DEFAULT_PORTS = {"http": 80, "https": 443}


class HostCheck:
    """ASGI middleware that refuses what a page of a stranger sends to an open API; one that asks for keys needs none.

    A page has no key, unlike the cookies of other services, which a browser sends by itself.
    """

    def __init__(self, app: ASGIApp, settings: AccessSettings) -> None:
        self._app = app
        self._settings = settings
        self._names = settings.trusted_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or hand over."""
        problem = None
        if scope["type"] == "http" and not self._settings.requires_key:
            problem = self._check(scope["method"], Headers(scope=scope))
        if problem is None:
            await self._app(scope, receive, send)
        else:
            request_id = getattr(Request(scope).state, "request_id", None)
            await problem_response(problem, request_id)(scope, receive, send)

    def _check(self, method: str, headers: Headers) -> Problem | None:
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""
        place = _split(host)
        known = place is not None and (is_address(place[0]) or place[0] in self._names)
        if not known and "*" not in self._names:
            variable = self._settings.variable("api_trusted_hosts")
            return protocol(
                "misdirected",
                f"the request is for host {shorten(host)}, which this API does not know itself by: "
                f"use an IP address or localhost, or add the name to {variable}",
            )
        for origin in headers.getlist("origin") if method not in HARMLESS else ():
            scheme, _, sender = origin.partition("://")
            if scheme not in DEFAULT_PORTS or _split(sender, scheme) != _split(host, scheme) or place is None:
                return protocol(
                    "cross-origin",
                    f"a page of {shorten(origin)} may not send {method} to {shorten(host)}, which asks for no API key: "
                    f"set {self._settings.variable('api_auth')}=required, or send it from a server",
                )
        return None


def _split(text: str, scheme: str = "http") -> tuple[str, int] | None:
    """Return name and port of ``host[:port]``, by default the scheme's port; ``None`` if that is not what it is."""
    found = HOST.fullmatch(text)
    return (found[1].strip("[]").lower(), int(found[2] or DEFAULT_PORTS[scheme])) if found else None
