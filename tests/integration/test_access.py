"""A Redis that is open to anyone is refused where it is not on this machine; the server is asked, not the URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from producer.connection import connect
from producer.errors import QueueUnreachable, SettingsError
from tests.torture.tls import tls_in_front_of
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


def test_who_may_do_all_but_ping_may_do_all(server: Server) -> None:
    redis.Redis(port=server.port).acl_setuser("default", enabled=True, nopass=True, commands=["-ping"])
    with pytest.raises(SettingsError, match="lets in anyone"):
        check_access(elsewhere(server, "default:whatever@"), "")


def test_who_may_ping_alone_sees_nothing(server: Server) -> None:
    admin = redis.Redis(port=server.port)
    admin.acl_setuser("worker", enabled=True, passwords=["+secret"], categories=["+@all"], keys=["*"])
    admin.acl_setuser("default", enabled=True, nopass=True, reset_keys=True, categories=["-@all"], commands=["+ping"])
    check_access(elsewhere(server, "worker:secret@"), "")


def test_what_cannot_be_asked_is_not_taken_for_closed(server: Server) -> None:
    first = redis.Redis(port=server.port)
    first.config_set("maxclients", 1)
    with pytest.raises(QueueUnreachable):
        check_access(elsewhere(server), "")
    first.close()


@pytest.mark.parametrize("demanded", [True, False])
def test_a_certificate_of_ours_says_nothing_unless_it_is_demanded(
    server: Server, tmp_path: Path, demanded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_is_here", lambda _: False)
    with tls_in_front_of(server.port, tmp_path, demand_certificate=demanded) as (port, ca_file):
        trust = f"ssl_ca_certs={ca_file}&ssl_certfile={tmp_path}/client.pem&ssl_keyfile={tmp_path}/client.pem"
        url = f"rediss://127.0.0.1:{port}/0?{trust}"
        connect(url).ping()
        if demanded:
            check_access(url, "")
        else:
            with pytest.raises(SettingsError, match="lets in anyone"):
                check_access(url, "")


def test_a_socket_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_answers", lambda *_, **__: pytest.fail("it is not asked"))
    check_access("unix:///run/valkey.sock", "")


@pytest.mark.parametrize(
    "value", ["redis://valkey", "valkey:6379", "my-redis.internal:6379", "10.0.0.5:6379", "a b,c", "user@valkey"]
)
def test_what_is_no_host_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SEEDMILL_REDIS_TRUSTED_HOSTS", value)
    with pytest.raises(SettingsError, match=r"SEEDMILL_REDIS_TRUSTED_HOSTS=.*is no host"):
        WorkerSettings.load()


def test_hosts_are_names_and_addresses_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDMILL_REDIS_TRUSTED_HOSTS", " Valkey, 10.0.0.3 ,[fd00::1],::ffff:10.0.0.3,*")
    assert WorkerSettings.load().redis_trusted_hosts == "valkey,10.0.0.3,fd00::1,::ffff:10.0.0.3,*"
