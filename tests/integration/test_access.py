"""A Redis that is open to anyone is refused where it is not on this machine; the server is asked, not the URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from producer.errors import SettingsError
from worker import access, doctor
from worker.access import check_access
from worker.local.servers import Server, start_valkey
from worker.settings import WorkerSettings

PASSWORD = "a/b@c d:e%"
QUOTED = "a%2Fb%40c%20d%3Ae%25"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = start_valkey(tmp_path / "data", tmp_path)
    yield running
    running.process.stop()


def elsewhere(server: Server, credentials: str = "", query: str = "") -> str:
    """Return a URL of the server by an address that is none of the loopback's."""
    return f"redis://{credentials}0.0.0.0:{server.port}/0{query}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_this_machine_may_be_open(server: Server, host: str) -> None:
    check_access(f"redis://{host}:{server.port}/0", "")


@pytest.mark.parametrize("trusted", ["0.0.0.0", "valkey,0.0.0.0", "*"])
def test_a_trusted_host_may_be_open(server: Server, trusted: str) -> None:
    check_access(elsewhere(server), trusted)


@pytest.mark.parametrize("trusted", ["", "valkey", "0.0.0", "0.0.0.0.example"])
def test_another_host_may_not(server: Server, trusted: str) -> None:
    with pytest.raises(SettingsError, match=r"lets in anyone.*SEEDMILL_REDIS_TRUSTED_HOSTS=0\.0\.0\.0"):
        check_access(elsewhere(server), trusted)


def test_the_doctor_finds_it_as_well(server: Server) -> None:
    with pytest.raises(SettingsError, match="lets in anyone"):
        doctor._queue(WorkerSettings.load(redis_url=elsewhere(server)))
    found = doctor._queue(WorkerSettings.load(redis_url=elsewhere(server), redis_trusted_hosts="0.0.0.0"))
    assert found.outcome is not doctor.Outcome.FAIL


@pytest.mark.parametrize("credentials", ["default:whatever@", "someone:whatever@"])
def test_a_password_in_the_url_that_the_server_does_not_need_is_none(server: Server, credentials: str) -> None:
    redis.Redis(port=server.port).acl_setuser("someone", enabled=True, nopass=True, categories=["+@all"], keys=["*"])
    url = elsewhere(server, credentials)
    redis.Redis.from_url(url).ping()
    with pytest.raises(SettingsError) as caught:
        check_access(url, "")
    assert "whatever" not in str(caught.value)


def test_credentials_as_options_of_the_url_are_not_sent_along(server: Server) -> None:
    with pytest.raises(SettingsError):
        check_access(elsewhere(server, query="?username=default&password=whatever"), "")


def test_a_server_with_a_password_is_served(server: Server) -> None:
    redis.Redis(port=server.port).config_set("requirepass", PASSWORD)
    check_access(elsewhere(server, f":{QUOTED}@"), "")


def test_a_server_whose_open_user_may_do_nothing_is_served(server: Server) -> None:
    admin = redis.Redis(port=server.port)
    admin.acl_setuser("worker", enabled=True, passwords=["+secret"], categories=["+@all"], keys=["*"])
    admin.acl_setuser("default", enabled=True, nopass=True, reset_keys=True, categories=["-@all"])
    check_access(elsewhere(server, "worker:secret@"), "")


def test_who_has_to_show_a_certificate_is_let_in_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "connect", lambda _: pytest.fail("it is not asked"))
    check_access("rediss://cache.example:6379/0?ssl_certfile=a.pem&ssl_keyfile=b.pem", "")
    check_access("unix:///run/valkey.sock", "")


@pytest.mark.parametrize("value", ["redis://valkey", "valkey:6379", "a b,c", "user@valkey"])
def test_what_is_no_host_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SEEDMILL_REDIS_TRUSTED_HOSTS", value)
    with pytest.raises(SettingsError, match=r"SEEDMILL_REDIS_TRUSTED_HOSTS=.*is no host"):
        WorkerSettings.load()


def test_hosts_are_names_and_addresses_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDMILL_REDIS_TRUSTED_HOSTS", " Valkey, 10.0.0.3 ,fd00::1,")
    assert WorkerSettings.load().redis_trusted_hosts == "valkey,10.0.0.3,fd00::1"
