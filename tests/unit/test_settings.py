"""Settings are read once, cast, and refused by the name of their variable."""

from __future__ import annotations

import pytest

from producer.connection import connect, connect_async
from producer.errors import SettingsError
from producer.redaction import hide_credentials, redact
from producer.redis_url import normalize_url, read_sentinels
from producer.settings import ProducerSettings
from worker.settings import WorkerSettings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "CHUNK_SIZE", "RESULT_TTL_S", "DEVICE", "MAX_BATCH", "S3_PREFIX", "S3_BUCKET"):
        monkeypatch.delenv(f"SEEDMILL_{name}", raising=False)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_an_argument_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ProducerSettings.load().redis_url == "redis://127.0.0.1:6379/0"
    monkeypatch.setenv("SEEDMILL_REDIS_URL", "redis://elsewhere:1/2")
    assert ProducerSettings.load().redis_url == "redis://elsewhere:1/2"
    assert ProducerSettings.load(redis_url="redis://here:3/4").redis_url == "redis://here:3/4"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDMILL_CHUNK_SIZE", "")
    assert ProducerSettings.load().chunk_size == 32


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SEEDMILL_CHUNK_SIZE", "many"),
        ("SEEDMILL_CHUNK_SIZE", "0"),
        ("SEEDMILL_MAX_BATCH", "-3"),
        ("SEEDMILL_DEVICE", "tpu"),
        ("SEEDMILL_S3_PREFIX", "no/slash/at/end"),
        ("SEEDMILL_S3_BUCKET", "b"),
    ],
)
def test_a_bad_value_is_refused_by_its_variable_and_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.load()
    assert f"{variable}={value!r}: " in str(caught.value)
    assert "match pattern" not in str(caught.value)


def test_a_password_in_a_bad_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "ftp://someone:secret@store")
    with pytest.raises(SettingsError, match=r"AWS_ENDPOINT_URL_S3='ftp://someone:\*\*\*@store'") as caught:
        WorkerSettings.load()
    assert "secret" not in str(caught.value)


def test_s3_is_set_by_the_variables_that_every_tool_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://general")
    assert WorkerSettings.load().s3_endpoint_url == "http://general"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://particular")
    assert WorkerSettings.load().s3_endpoint_url == "http://particular"


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    assert "hush-hush" not in repr(WorkerSettings.load())


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("valkey://h:1/2", "redis://h:1/2"),
        ("valkeys://u:p@h/0", "rediss://u:p@h/0"),
        ("rediss://u:p@h:6380/0", "rediss://u:p@h:6380/0"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
    ],
)
def test_valkey_urls_are_redis_urls(url: str, normal: str) -> None:
    assert normalize_url(url) == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://h",
        "redis://h:port/0",
        "sqs://h",
        "redis://h/abc",
        "redis://h/0?colour=1",
        "redis://:a/b@h",
        "redis://h/0?max_connections=-1",
        "redis://h/0?retry=3",
        "redis://h/0?protocol=9",
        "rediss://h/0?ssl_cert_reqs=bogus",
        "redis://b\u00fccher..x/0",
        "redis://h1,h2:6379/0",
        "redis://h :6379/0",
        "redis://h%20:6379/0",
        "redis://h:0/0",
        "redis://h:6379/0\n",
        "redis://:26379#x@h",
        "redis://u:12?password=x@h:6379",
        "unix://tmp/x.sock",
        "unix://",
    ],
)
def test_a_url_of_something_else_is_refused(url: str) -> None:
    for function in (connect, connect_async):
        with pytest.raises(SettingsError, match="SEEDMILL_REDIS_URL"):
            function(url)


@pytest.mark.parametrize(
    ("url", "hosts", "primary"),
    [
        ("sentinel://h/0?service_name=s", [("h", 26379)], "redis://10.0.0.1:6379/0"),
        ("sentinel://h:1,i,j:2?service_name=s", [("h", 1), ("i", 26379), ("j", 2)], "redis://10.0.0.1:6379"),
        ("sentinel://[::1]:1,[::2]/3?service_name=s", [("::1", 1), ("::2", 26379)], "redis://10.0.0.1:6379/3"),
        (
            "sentinels://u:p%2Fw@h,i/2?ssl_ca_certs=/etc/ca.pem&service_name=s&sentinel_password=q",
            [("h", 26379), ("i", 26379)],
            "rediss://u:p%2Fw@10.0.0.1:6379/2?ssl_ca_certs=/etc/ca.pem",
        ),
    ],
)
def test_sentinels_lead_to_the_primary_with_all_else_that_the_url_says(
    url: str, hosts: list[tuple[str, int]], primary: str
) -> None:
    found = read_sentinels(url)
    assert found
    assert (list(found.hosts), found.service_name) == (hosts, "s")
    assert found.primary_url("10.0.0.1", 6379) == primary
    assert found.credentials == ({"password": "q"} if "sentinel_password" in url else {})
    assert normalize_url(url) == url
    assert "'q'" not in repr(found)
    connect(url).close()
    connect_async(url)


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://h:26379/0",
        "sentinel:///0?service_name=s",
        "sentinel://h:port/0?service_name=s",
        "sentinel://h,,i/0?service_name=s",
        "sentinel://h:26379;sentinel://i:26379/0?service_name=s",
        "sentinel://[::1/0?service_name=s",
        "sentinel://h/abc?service_name=s",
        "sentinel://h/0?service_name=s&colour=1",
        "sentinel://h, i/0?service_name=s",
        "sentinel://h:0/0?service_name=s",
        "sentinel://h,i:0/0?service_name=s",
        "sentinel://h,b\u00fccher..x/0?service_name=s",
        "sentinel://u:p@h,u:p@i/0?service_name=s",
        "sentinel://h/0?service_name=s%0A",
        "sentinel://h/0?service_name=a+b",
        "sentinel://h/0?service_name=s#i",
        "sentinels://h/0?service_name=s&ssl_cert_reqs=bogus",
    ],
)
def test_a_url_that_does_not_name_sentinels_or_what_they_watch_is_refused(url: str) -> None:
    for function in (connect, connect_async):
        with pytest.raises(SettingsError, match="SEEDMILL_REDIS_URL"):
            function(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://mill@h/0?password=hush", "before the @ and the option 'password': give both in one way"),
        ("redis://:hush@h/0?username=mill", "before the @ and the option 'username'"),
        ("unix://:hush@/run/x?username=mill", "before the @ and the option 'username'"),
        ("sentinel://mill@h/0?service_name=s&password=hush", "before the @ and the option 'password'"),
        ("redis://h?password=hush&password=rush", "the option 'password' more than once"),
        ("redis://h?db=1&db=", "the option 'db' more than once"),
        ("sentinel://h?service_name=s&service_name=t", "the option 'service_name' more than once"),
    ],
)
def test_what_clients_and_celery_would_read_differently_is_refused(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        normalize_url(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("mark", list("/?#"))
@pytest.mark.parametrize("form", ["redis://u:{}@h:1/0", "valkeys://:{}@h", "sentinel://u:{}@h:1,i:2/0?service_name=s"])
@pytest.mark.parametrize(("start", "end"), [("hush", "rush"), ("4711", "rush"), ("4711", "rush=1"), ("4711", "8391")])
def test_no_part_of_a_password_that_is_not_escaped_is_shown(form: str, mark: str, start: str, end: str) -> None:
    with pytest.raises(SettingsError, match="%2F %3F %23") as caught:
        normalize_url(form.format(f"{start}{mark}{end}"))
    told = f"{caught.value} {caught.value.__context__}"
    assert start not in told
    assert end not in told


@pytest.mark.parametrize("url", ["amqp://u:hush@h:5672//", "amqps://h", "pyamqp://h"])
def test_rabbitmq_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(
        SettingsError, match=r"RabbitMQ.*name a Redis or Valkey.*HTTP API \(docs/services\.md\)"
    ) as caught:
        connect(url)
    assert "hush" not in str(caught.value)


def test_a_socket_is_a_place_too() -> None:
    connect("unix:///run/valkey.sock?db=3").close()


@pytest.mark.parametrize(
    "url", ["rediss://h/0?ssl_cert_reqs=none&ssl_check_hostname=false", "redis://h?db=3&protocol=2"]
)
def test_the_options_that_there_are_can_be_used(url: str) -> None:
    connect(url)
    connect_async(url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://u:hush@h:1/x, again http://h", "at http://u:***@h:1/x, again http://h"),
        ("at http://u:hu@sh@h:1", "at http://u:***@h:1"),
        ("at u:hush@h:1", "at u:***@h:1"),
        ("http://h:1/x is away since 10:30", "http://h:1/x is away since 10:30"),
    ],
)
def test_a_password_in_an_endpoint_is_not_shown(text: str, shown: str) -> None:
    assert hide_credentials(text) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:hush@h:1/0", "redis://:***@h:1/0"),
        ("redis://me:hu@sh@h:1/0", "redis://me:***@h:1/0"),
        ("redis://:hu/sh@h:1/0", "redis://:***@h:1/0"),
        ("redis://h:1/0?password=hush", "redis://h:1/0"),
        ("redis://h:1/0?password=hu@sh", "redis://***"),
        ("redis://me:hu?sh@h:1/0", "redis://***"),
        ("me:hush@h:1", "***@h:1"),
        ("redis:/me:hush@h", "***@h"),
        ("redis:me:hush@h", "***@h"),
        ("h:1", "h:1"),
        ("sentinel://me:hush@h:1,i:2/0?sentinel_password=hush", "sentinel://me:***@h:1,i:2/0"),
    ],
)
def test_passwords_are_never_shown(url: str, shown: str) -> None:
    assert redact(url) == shown
