"""URLs of webhooks: refused where parsers could differ, and named without what is secret in them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.urls import check_webhook_url, host_of, shown
from producer.errors import SettingsError

SETTINGS = WebhookSettings()


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://example.com", ("https", "example.com", 443, "/", "example.com")),
        ("HTTPS://Example.COM/Hook", ("https", "example.com", 443, "/Hook", "example.com")),
        ("https://example.com:443/", ("https", "example.com", 443, "/", "example.com")),
        ("https://a-b.example.com:8443?x=1", ("https", "a-b.example.com", 8443, "/?x=1", "a-b.example.com:8443")),
        ("https://8.8.8.8/h?a=b@c", ("https", "8.8.8.8", 443, "/h?a=b@c", "8.8.8.8")),
        (
            "https://[2606:4700::1111]:9/%20",
            ("https", "2606:4700::1111", 9, "/%20", "[2606:4700::1111]:9"),
        ),
        ("https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example")),
    ],
)
def test_a_url_is_read_into_what_is_sent_to(url: str, parts: tuple[object, ...]) -> None:
    target = check_webhook_url(url, SETTINGS)
    assert (target.scheme, target.host, target.port, target.path, target.authority) == parts


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "write https://host"),
        ("example.com/hook", "write https://host"),
        ("ftp://example.com", "write https://host"),
        ("file:///etc/passwd", "write https://host"),
        ("gopher://example.com:6379/_", "write https://host"),
        ("https:example.com", "write https://host"),
        ("https:///path", "write https://host"),
        ("https://example.com/a b", "write https://host"),
        ("https://example.com/\r\nX: y", "write https://host"),
        ("https://example.com\\@evil.example", "leave out user and password"),
        ("https://example.com\\.evil.example/", "write https://host"),
        ("https://example.com/#there", "no #"),
        ("https://b\u00fccher.example", "write https://host"),
        ("https://\u212aube.example", "write https://host"),
        ("http\u017f://example.com", "write https://host"),
        ("https://example.com:\u0664\u0664\u0663/", "write https://host"),
        ("https://127。0。0。1/", "write https://host"),
        ("https://example.com:/", "write https://host"),
        ("https://%31%32%37.0.0.1/", "write https://host"),
        ("https://[fe80::1%25eth0]/", "write https://host"),
        ("http://example.com", "begin it with https://"),
        ("https://me:hush@example.com/", "leave out user and password"),
        ("https://example.com@evil.example/", "leave out user and password"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:65536/", "port 65536"),
        ("https://" + "a" * 2041, "2049 characters"),
        ("https://-a.example/", "'-a.example' is not a host name"),
        ("https://a..example/", "is not a host name"),
        ("https://example.com./", "is not a host name"),
        (f"https://{'a' * 64}.example/", "is not a host name"),
        ("https://127.1/", "'127.1' is not an address"),
        ("https://2130706433/", "is not an address"),
        ("https://0x7f000001/", "is not an address"),
        ("https://0x7f.1/", "is not an address"),
        ("https://0177.0.0.1/", "is not an address"),
        ("https://1.2.3.4.5/", "is not an address"),
        ("https://[::1::]/", "is not an address"),
        ("https://127.0.0.1/", "its address is not public"),
        ("https://169.254.169.254/latest/meta-data", "its address is not public"),
        ("https://[::ffff:10.0.0.1]/", "its address is not public"),
        ("https://localhost:8443/", "its address is not public"),
        ("https://a.localhost/", "its address is not public"),
    ],
)
def test_a_url_that_cannot_be_sent_to_is_refused_with_the_reason(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        check_webhook_url(url, SETTINGS)
    assert str(caught.value).startswith(f"webhook {shown(url)!r}: ")
    assert "hush" not in str(caught.value)


def test_settings_let_plain_http_and_receivers_in_house_through() -> None:
    settings = WebhookSettings(webhook_allow_http=True, webhook_allowed_hosts="127.0.0.0/8,10.1.0.0/16")
    assert check_webhook_url("http://example.com", settings).port == 80
    assert check_webhook_url("http://localhost:9/", settings).literal is None
    assert check_webhook_url("https://10.1.2.3/", settings).literal == ipaddress.ip_address("10.1.2.3")
    with pytest.raises(SettingsError, match="not public"):
        check_webhook_url("https://10.2.2.3/", settings)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
@example("@127.0.0.1")
@example("example.com[]@x")
def test_what_is_taken_is_read_alike_by_other_parsers(rest: str) -> None:
    url = "https://" + rest
    try:
        target = check_webhook_url(url, SETTINGS)
    except SettingsError:
        return
    parts = urlsplit(url)
    assert (parts.hostname, parts.port or 443) == (target.host, target.port)
    assert (parts.username, parts.password, parts.fragment) == (None, None, "")
    assert host_of(url) == parts.netloc.lower()


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://example.com/a?token=hush", "https://example.com/a"),
        ("https://me:hush@example.com/a", "https://***@example.com/a"),
        ("https://me:hu@sh@example.com?x=a@b", "https://***@example.com"),
        ("https://example.com/a?x=a@b#hush", "https://example.com/a"),
        ("https://example.com/" + "a" * 5000, "https://example.com/" + "a" * 180),
    ],
)
def test_messages_do_not_show_what_is_secret_in_a_url(url: str, seen: str) -> None:
    assert shown(url) == seen


def test_settings_of_webhooks_are_refused_by_their_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEEDMILL_WEBHOOK_ALLOWED_HOSTS", "10.0.0.1/8")
    with pytest.raises(SettingsError, match=r"SEEDMILL_WEBHOOK_ALLOWED_HOSTS='10.0.0.1/8': '10.0.0.1/8' is neither"):
        WebhookSettings.load()
