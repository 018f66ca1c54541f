"""What needs no Redis of who may call the API: modes, names of hosts, origins, failed attempts."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from producer.api import rate_limit
from producer.api.access_settings import AccessSettings
from producer.api.host_check import HostCheck
from producer.api.rate_limit import FailureLimit, network_of
from producer.errors import SettingsError
from producer.problems import TYPE_PREFIX


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("192.168.1.5", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_keys_are_needed_unless_this_machine_alone_can_reach_it_or_the_setting_says_so(
    host: str, loopback: bool
) -> None:
    settings = AccessSettings(api_host=host)
    assert settings.listens_on_loopback == loopback
    assert settings.requires_key != loopback
    assert AccessSettings(api_host=host, api_auth="required").requires_key
    assert not AccessSettings(api_host=host, api_auth="open").requires_key


@pytest.mark.parametrize(("name", "value"), [("api_auth", "maybe"), ("api_rate_per_minute", "-1")])
def test_a_bad_value_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    variable = AccessSettings.variable(name)
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"{variable}='{value}'"):
        AccessSettings.load()


def asked(
    settings: AccessSettings, host: str | list[str], *, method: str = "GET", origin: str | None = None
) -> tuple[int, str]:
    """Return status and problem of a request with these headers; an answer of the app has none."""
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"), methods=["GET", "POST", "OPTIONS"])])
    headers = [("Host", name) for name in ([host] if isinstance(host, str) else host)]
    headers += [("Origin", origin)] if origin is not None else []
    answer = TestClient(HostCheck(app, settings)).request(method, "/", headers=headers)
    if answer.status_code == 200:
        return 200, ""
    return answer.status_code, answer.json()["type"].removeprefix(TYPE_PREFIX)


OPEN = AccessSettings(api_host="127.0.0.1", api_trusted_hosts=" Seedmill.example , api")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000", "10.1.2.3:80", "localhost", "LOCALHOST:1", "api:8000", "api",
     "seedmill.EXAMPLE"],
)  # fmt: skip
def test_an_open_api_answers_by_addresses_and_by_names_that_it_knows(host: str) -> None:
    assert asked(OPEN, host) == (200, "")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "evil@localhost", "",
     "localhost:x", "localhost/x", "::1", "[::1", "2130706433", "127.1", "localhost#", "localhost\\evil", "api."],
)  # fmt: skip
def test_an_open_api_does_not_answer_by_another_name(host: str) -> None:
    assert asked(OPEN, host) == (421, "misdirected")


def test_two_names_are_none() -> None:
    assert asked(OPEN, ["localhost", "localhost"]) == (421, "misdirected")


def test_a_refusal_says_what_to_set() -> None:
    app = HostCheck(Starlette(), OPEN)
    answer = TestClient(app).get("/", headers={"Host": "evil.example"})
    assert "'evil.example'" in answer.json()["detail"]
    assert "SEEDMILL_API_TRUSTED_HOSTS" in answer.json()["detail"]


def test_a_star_trusts_every_name_and_keys_make_names_unimportant() -> None:
    assert asked(AccessSettings(api_trusted_hosts="*"), "any.example") == (200, "")
    assert asked(AccessSettings(api_auth="required"), "any.example", method="POST", origin="http://evil") == (200, "")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("api", "https://api:443"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_page_of_its_own_may_send(host: str, origin: str) -> None:
    assert asked(OPEN, host, method="POST", origin=origin) == (200, "")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://localhost:8001", "http://localhost", "https://127.0.0.1:8000",
     "http://localhost:8000.evil.example", "http://localhost:8000@evil.example", "file://"],
)  # fmt: skip
@pytest.mark.parametrize("settings", [OPEN, AccessSettings(api_trusted_hosts="*")])
def test_a_page_of_another_origin_may_read_but_not_send(origin: str, settings: AccessSettings) -> None:
    assert asked(settings, "localhost:8000", method="POST", origin=origin) == (403, "cross-origin")
    assert asked(settings, "localhost:8000", origin=origin) == (200, "")


def test_a_refusal_carries_the_id_of_its_request() -> None:
    inner = HostCheck(Starlette(), OPEN)

    async def outer(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        Request(scope).state.request_id = "r1"
        await inner(scope, receive, send)

    assert TestClient(outer).get("/", headers={"Host": "evil"}).json()["request_id"] == "r1"


def test_an_address_may_fail_thirty_times_and_then_every_two_seconds() -> None:
    limit, now = FailureLimit(), 12345.678
    for _ in range(30):
        assert limit.retry_after_s("203.0.113.5", now) == 0
        limit.count("203.0.113.5", now)
    assert limit.retry_after_s("203.0.113.5", now) == 2
    assert limit.retry_after_s("203.0.113.5", now + 1.5) == 1
    assert limit.retry_after_s("203.0.113.5", now + 2) == 0
    assert limit.retry_after_s("203.0.113.6", now) == 0


def test_addresses_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_ADDRESSES", 3)
    limit = FailureLimit()
    for number in (1, 2, 3, 1, 4):
        limit.count(f"10.0.0.{number}", 0)
    assert list(limit._spent_until) == ["10.0.0.3", "10.0.0.1", "10.0.0.4"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network
