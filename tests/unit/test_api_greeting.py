"""What `seedmill serve` says first: an address that can be opened."""

from __future__ import annotations

import socket

import pytest

from producer.api.server import _greeting
from producer.api.settings import ApiSettings


@pytest.mark.parametrize(
    ("host", "public", "place"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:{}"),
        ("0.0.0.0", "", "http://127.0.0.1:{}"),
        ("::", "", "http://[::1]:{}"),
        ("::1", "", "http://[::1]:{}"),
        ("0.0.0.0", "https://pictures.example/mill", "https://pictures.example/mill"),
    ],
)
def test_the_place_that_is_named_can_be_opened(host: str, public: str, place: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with socket.create_server((host, 0), family=family) as listener:
        said = _greeting(ApiSettings(api_host=host, api_public_url=public), listener)
        opened = place.format(listener.getsockname()[1])
        assert said.endswith(f"; open {opened}/ to use it, {opened}/docs for what apps can do")
