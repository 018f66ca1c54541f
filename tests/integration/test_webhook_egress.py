"""The way out of webhooks on real TLS connections: whom it reaches, whom never, and for how long it waits."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from pathlib import Path
from typing import Any

import httpcore2
import pytest
import trustme

from producer.api.webhooks import egress
from producer.api.webhooks.egress import AddressRefused, Answer, Egress
from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.urls import check_webhook_url
from producer.errors import SettingsError
from tests.integration.receiver import HANG, NAME, Authority, Receiver, Resolver, answer, here, receiving

LOOPBACK = "127.0.0.0/8"


def settings_for(authority: Authority, allowed: str = LOOPBACK) -> WebhookSettings:
    return WebhookSettings(webhook_allowed_hosts=allowed, webhook_ca_file=authority.path)


async def post(settings: WebhookSettings, url: str, resolver: Resolver, **options: Any) -> Answer:
    way_out = Egress(settings, resolve=resolver, **options)
    try:
        return await way_out.post(check_webhook_url(url, settings), b'{"a":1}', {"x-of-ours": "1"})
    finally:
        way_out.close()


def test_a_receiver_gets_the_body_and_the_headers(authority: Authority) -> None:
    async def play() -> Receiver:
        async with receiving(authority) as receiver:
            assert await post(settings_for(authority), receiver.url, here()) == Answer(204)
            return receiver

    receiver = asyncio.run(play())
    (got,) = receiver.got
    assert (got.path, got.body) == ("/hook?token=hush", b'{"a":1}')
    assert got.headers["host"] == f"{NAME}:{receiver.port}"
    assert (got.headers["x-of-ours"], got.headers["connection"]) == ("1", "close")


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["127.0.0.1", "10.0.0.1"],
        ["10.0.0.1", "127.0.0.1"],
        ["::ffff:192.168.0.1"],
        ["64:ff9b::a00:1"],
        ["fe80::1%1"],
        ["0.0.0.0"],
    ],
)
def test_a_name_with_an_address_that_is_not_public_is_refused_before_anything_is_sent(
    authority: Authority, addresses: list[str]
) -> None:
    async def play() -> int:
        async with receiving(authority) as receiver:
            with pytest.raises(AddressRefused, match=f"{NAME} has the address .* which is not public"):
                await post(settings_for(authority), receiver.url, Resolver({NAME: [addresses]}))
            return receiver.connections

    assert asyncio.run(play()) == 0


def test_a_name_that_is_bound_to_another_address_afterwards_is_not_resolved_again(authority: Authority) -> None:
    resolver = Resolver({NAME: [["127.0.0.1"], ["10.0.0.1"]]})

    async def play() -> Receiver:
        async with receiving(authority) as receiver:
            await post(settings_for(authority), receiver.url, resolver)
            assert resolver.asked == [NAME]
            with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
                await post(settings_for(authority), receiver.url, resolver)
            return receiver

    assert len(asyncio.run(play()).got) == 1


def test_the_resolver_of_the_system_is_asked_and_judged(authority: Authority) -> None:
    async def play() -> None:
        settings = WebhookSettings(webhook_allowed_hosts="127.0.0.9")
        way_out = Egress(settings)
        target = check_webhook_url("https://some.example.test/", settings)
        local = type(target)("https", "localhost", 9, "/", None)
        with pytest.raises(AddressRefused, match="localhost has the address"):
            await way_out.post(local, b"", {})
        way_out.close()

    asyncio.run(play())


def test_a_literal_address_is_judged_when_it_is_sent_to_as_well(authority: Authority) -> None:
    async def play() -> None:
        loose, strict = settings_for(authority), settings_for(authority, "")
        target = check_webhook_url("https://127.0.0.1:1/", loose)
        assert target.literal == ipaddress.ip_address("127.0.0.1")
        way_out = Egress(strict)
        with pytest.raises(AddressRefused):
            await way_out.post(target, b"", {})
        way_out.close()

    asyncio.run(play())


def test_redirects_are_not_followed(authority: Authority) -> None:
    async def play() -> Receiver:
        async with receiving(authority, answer(307, "location: /elsewhere")) as receiver:
            assert (await post(settings_for(authority), receiver.url, here())).status == 307
            return receiver

    assert [got.path for got in asyncio.run(play()).got] == ["/hook?token=hush"]


def test_proxies_of_the_environment_are_not_used(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def play() -> int:
        async with receiving(authority) as receiver:
            return (await post(settings_for(authority), receiver.url, here())).status

    assert asyncio.run(play()) == 204


def test_the_next_address_is_tried_where_one_does_not_answer(authority: Authority) -> None:
    async def play() -> int:
        async with receiving(authority) as receiver:
            resolver = Resolver({NAME: [["127.0.0.2", "127.0.0.1"]]})
            return (await post(settings_for(authority), receiver.url, resolver)).status

    assert asyncio.run(play()) == 204


@pytest.mark.parametrize("name", ["other.example.test", NAME])
def test_a_certificate_for_another_name_or_of_an_unknown_authority_is_not_trusted(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    trusted = authority if name != NAME else Authority(authority.ca, stranger)

    async def play() -> Receiver:
        async with receiving(authority) as receiver:
            url = receiver.url.replace(NAME, name)
            with pytest.raises(httpcore2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await post(settings_for(trusted), url, Resolver({name: [["127.0.0.1"]]}))
            return receiver

    assert asyncio.run(play()).got == []


def test_a_name_that_is_not_known_is_an_error_of_the_network(authority: Authority) -> None:
    with pytest.raises(httpcore2.ConnectError, match=f"the address of {NAME} is not known"):
        asyncio.run(post(settings_for(authority), f"https://{NAME}/", Resolver({})))


def test_a_receiver_that_hangs_is_left_in_time(authority: Authority) -> None:
    async def play() -> None:
        async with receiving(authority, HANG) as receiver:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await post(settings_for(authority), receiver.url, here(), total_s=0.2)
            assert time.monotonic() - began < 8

    asyncio.run(play())


@pytest.mark.parametrize("size", [10, 10**6])
def test_an_answer_that_does_not_end_counts_by_its_status(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(egress, "DRAIN_S", 0.1)
    unending = f"HTTP/1.1 202 Yes\r\ncontent-length: {10**9}\r\n\r\n".encode() + b"x" * size

    async def play() -> Answer:
        async with receiving(authority, unending) as receiver:
            return await post(settings_for(authority), receiver.url, here())

    assert asyncio.run(play()) == Answer(202)


def test_what_a_receiver_says_of_when_to_come_back_is_told(authority: Authority) -> None:
    async def play() -> Answer:
        async with receiving(authority, answer(503, "Retry-After: 77")) as receiver:
            return await post(settings_for(authority), receiver.url, here())

    assert asyncio.run(play()) == Answer(503, 77)


def test_a_file_of_authorities_that_cannot_be_read_is_refused_by_its_variable(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (tmp_path / "missing.pem", empty):
        with pytest.raises(SettingsError, match="SEEDMILL_WEBHOOK_CA_FILE="):
            Egress(WebhookSettings(webhook_ca_file=path))


def test_a_receiver_that_hangs_before_there_is_tls_leaves_nothing_open(authority: Authority) -> None:
    async def play() -> None:
        gone = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            gone.set()

        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"https://{NAME}:{port}/"
        with pytest.raises(TimeoutError):
            await post(settings_for(authority), url, here(), total_s=0.2)
        async with asyncio.timeout(5):
            await gone.wait()
        server.close()

    asyncio.run(play())
