"""Every way to name a Redis leads there: clients of either kind, a worker's own connections, and Celery's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from producer import AsyncClient, Client
from producer.connection import connect, connect_async, translated
from producer.contract import QUEUE, JobStatus
from producer.errors import QueueRefused, QueueUnreachable, SettingsError
from producer.redis_url import read_sentinels
from producer.sentinel import primary_url
from tests.torture.failover import SERVICE, plain, start_redis, start_sentinel
from tests.torture.tls import tls_in_front_of
from worker import doctor
from worker.access import check_access, check_whole
from worker.app import build_app
from worker.local.servers import Server
from worker.queue.ledger import Ledger
from worker.settings import WorkerSettings

Ways = dict[str, str]


@pytest.fixture
def started() -> Iterator[list[Server]]:
    """The servers of a test, which are ended after it."""
    servers: list[Server] = []
    yield servers
    for server in servers:
        server.process.stop()


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """URLs of one Valkey that lets in nobody without a password, by name."""
    folder = tmp_path_factory.mktemp("ways")
    valkey = start_redis(folder, "valkey", "--unixsocket", str(folder / "socket"))
    with plain(valkey) as admin:
        admin.execute_command("ACL", "SETUSER", "mill", *["on", ">p/w", "~*", "&*", "+@all", "-@dangerous", "+info"])
        admin.acl_setuser("default", enabled=False)
    (folder / "open").mkdir()
    (folder / "closed").mkdir()
    of_mill = [f"sentinel auth-user {SERVICE} mill", f"sentinel auth-pass {SERVICE} p/w"]
    asked = start_sentinel(folder / "open", valkey.port, *of_mill)
    closed = start_sentinel(folder / "closed", valkey.port, *of_mill, "requirepass ask")
    port, mill = valkey.port, "mill:p%2Fw@"
    tls = tls_in_front_of(valkey.port, folder, demand_certificate=True)
    try:
        with tls as (tls_port, ca_file):
            own = f"ssl_ca_certs={ca_file}&ssl_certfile={folder}/client.pem&ssl_keyfile={folder}/client.pem"
            yield {
                "a user": f"redis://{mill}127.0.0.1:{port}/3",
                "valkey": f"valkey://{mill}127.0.0.1:{port}",
                "options": f"redis://127.0.0.1:{port}?username=mill&password=p%2Fw&db=3&protocol=2",
                "certificates": f"rediss://{mill}127.0.0.1:{tls_port}/3?{own}",
                "a socket": f"unix://{mill}{folder}/socket?db=3",
                "Sentinel": f"sentinel://{mill}127.0.0.1:{asked.port}/3?service_name={SERVICE}",
                "Sentinels": f"sentinel://{mill}127.0.0.1:1,127.0.0.1:{asked.port}/3?service_name={SERVICE}",
                "a password": f"sentinel://{mill}127.0.0.1:{closed.port}?service_name={SERVICE}&sentinel_password=ask",
            }
    finally:
        for server in (closed, asked, valkey):
            server.process.stop()


@pytest.mark.parametrize(
    "way", ["a user", "valkey", "options", "certificates", "a socket", "Sentinel", "Sentinels", "a password"]
)
def test_clients_and_both_sides_of_a_worker_come_there(ways: Ways, way: str) -> None:
    url = ways[way]
    settings = WorkerSettings.load(redis_url=url)
    with Client(url) as client, connect(url, decode=False, retries=0) as own:
        client._redis.delete(QUEUE)
        job = client.submit(7)
        assert asyncio.run(status_of(url, job.id)) is JobStatus.QUEUED
        check_whole(own)
        check_access(url, "")
        ledger = Ledger(own, limit=1, seeds=8, result_ttl_s=60)
        app = build_app(settings, ledger, int)
        with app.connection_for_read() as broker, broker.channel() as channel:
            assert channel._size(QUEUE) == 1
            assert channel.client.ping()
            channel.subclient.psubscribe("anything")
        (taken,) = ledger.take()
        assert job.id in taken.text.decode()
        ledger.settle(taken.tag)
        app.close()


async def status_of(url: str, job_id: str) -> JobStatus:
    async with AsyncClient(url) as client:
        return (await client.get(job_id)).status


def test_a_sentinel_is_asked_over_tls_and_with_a_certificate_if_the_url_says_so(ways: Ways, tmp_path: Path) -> None:
    _, _, place = ways["Sentinel"].rpartition("@127.0.0.1:")
    port, _, rest = place.partition("/")
    with tls_in_front_of(int(port), tmp_path, demand_certificate=True) as (tls_port, ca_file):
        url = f"sentinels://mill:p%2Fw@127.0.0.1:{tls_port}/{rest}&ssl_ca_certs={ca_file}"
        own = f"&ssl_certfile={tmp_path}/client.pem&ssl_keyfile={tmp_path}/client.pem"
        found = read_sentinels(url + own)
        assert found
        assert primary_url(found).startswith("rediss://mill:p%2Fw@127.0.0.1:")
        without = read_sentinels(url)
        assert without
        with pytest.raises(redis.ConnectionError):
            primary_url(without)


@pytest.mark.parametrize(
    ("way", "old", "new", "words"),
    [
        ("Sentinel", SERVICE, "others", "no Sentinel names a living primary 'others'"),
        ("a password", "=ask", "=wrong", "no Sentinel names a living primary.*AuthenticationError"),
        ("Sentinel", "mill:p%2Fw", "mill:wrong", "refused the user or password"),
    ],
)
def test_what_is_wrong_behind_a_sentinel_is_told(ways: Ways, way: str, old: str, new: str, words: str) -> None:
    url = ways[way].replace(old, new)
    refused = pytest.raises((QueueUnreachable, QueueRefused), match=words)
    with connect(url, retries=0) as client, refused as caught, translated(url):
        client.ping()
    assert "wrong" not in str(caught.value)


def test_an_open_primary_behind_a_sentinel_is_found_out(
    started: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.append(valkey := start_redis(tmp_path, "valkey"))
    started.append(sentinel := start_sentinel(tmp_path, valkey.port))
    monkeypatch.setattr("worker.access._is_here", lambda _: False)
    url = f"sentinel://me:pw@127.0.0.1:{sentinel.port}/0?service_name={SERVICE}"
    with pytest.raises(SettingsError, match=r"lets in anyone.*TRUSTED_HOSTS=127\.0\.0\.1"):
        check_access(url, "")


def test_a_connection_in_use_is_left_for_another_primary_but_not_for_a_sentinel_that_is_away(
    started: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.sentinel.LOOK_S", 0.0)
    monkeypatch.setattr("producer.sentinel.SPARED_S", 0.0)
    started += [start_redis(tmp_path, name) for name in ("first", "second")]
    first, second = started
    started.append(sentinel := start_sentinel(tmp_path, first.port))
    url = f"sentinel://127.0.0.1:{sentinel.port}/0?service_name={SERVICE}"
    for server in (first, second):
        with plain(server) as client:
            client.set("port", server.port)

    async def ask() -> list[int]:
        app = build_app(WorkerSettings.load(redis_url=url), Ledger(own, limit=1, seeds=8, result_ttl_s=60), int)
        async with connect_async(url) as other:
            with app.connection_for_read() as broker, broker.channel() as channel, plain(sentinel) as asked:
                seen = [own.get("port"), await other.get("port"), channel.client.get("port")]
                asked.execute_command("SENTINEL", "REMOVE", SERVICE)
                asked.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", second.port, 1)
                with pytest.raises(redis.ConnectionError, match="another server is the primary"):
                    channel.client.get("port")
                seen += [own.get("port"), await other.get("port"), channel.client.get("port")]
                sentinel.process.stop()
                seen += [own.get("port"), await other.get("port"), channel.client.get("port")]
        app.close()
        return [int(port) for port in seen]

    with connect(url, decode=False) as own:
        assert asyncio.run(ask()) == [first.port] * 3 + [second.port] * 6


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Server]:
    server = start_redis(tmp_path, "cluster", "--cluster-enabled", "yes")
    yield server
    server.process.stop()


def test_a_cluster_is_refused_in_words(cluster: Server) -> None:
    url = f"redis://127.0.0.1:{cluster.port}/0"
    words = "is a cluster.*cluster mode disabled"
    with plain(cluster) as admin, Client(url) as client:
        with pytest.raises(QueueRefused, match=words):  # no node has anything yet
            client.submit(1)
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        with pytest.raises(QueueRefused, match=words):
            client.submit(1)
        with pytest.raises(QueueRefused, match=words):
            doctor._queue(WorkerSettings.load(redis_url=url))
        with translated(url), pytest.raises(redis.ResponseError):
            check_whole(admin)
