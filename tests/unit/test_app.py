"""The Celery application of the worker."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import control
from kombu.serialization import dumps

from producer.errors import SettingsError
from worker.app import build_app, celery_url
from worker.queue.control import RemoteControl
from worker.queue.events import node_name
from worker.queue.ledger import Ledger
from worker.queue.transport import Transport
from worker.settings import WorkerSettings

NO_LEDGER: Ledger = object()  # type: ignore[assignment]  # nothing is taken here


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("valkey://u:p@h:1/2", "redis://u:p@h:1/2"),
        ("rediss://h:1/2", "rediss://h:1/2?ssl_cert_reqs=required"),
        ("rediss://h:1/2?ssl_cert_reqs=none", "rediss://h:1/2?ssl_cert_reqs=none"),
        ("redis://h:1/2?db=3", "redis://h:1/3"),
        ("redis://h:1?username=u&password=p&protocol=2", "redis://u:p@h:1"),
        ("redis://u:a;p@h:1/2", "redis://u:a%3Bp@h:1/2"),
        ("sentinel://u:p@h:1,i:1/2?service_name=s", "redis://u:p@h:1/2"),
        ("sentinels://h:1/2?service_name=s&sentinel_password=p", "rediss://h:1/2?ssl_cert_reqs=required"),
        ("unix:///run/valkey.sock?db=3", "redis+socket:///run/valkey.sock?virtual_host=3"),
    ],
)
def test_every_url_has_the_form_that_celery_takes(url: str, wanted: str) -> None:
    assert celery_url(url) == wanted
    app = build_app(WorkerSettings.load(redis_url=url), NO_LEDGER, int)
    assert app.backend is not None
    connection = app.connection_for_read()
    assert connection.get_transport_cls() is Transport
    assert "p@" not in connection.as_uri(), "passwords are not shown"
    app.close()


def test_what_a_monitor_is_told_of_sentinels_has_no_password_and_can_be_sent() -> None:
    url = "sentinel://mill:hush@h:1,i:2/0?service_name=s&sentinel_password=rush"
    app = build_app(WorkerSettings.load(redis_url=url), NO_LEDGER, int)
    with app.connection_for_read() as connection:
        info = connection.info()
    info.pop("password")  # as Celery does
    controller = SimpleNamespace(stats=lambda: {"broker": info})
    state = SimpleNamespace(app=app, consumer=SimpleNamespace(controller=controller))
    remote = RemoteControl(SimpleNamespace(id="w", held=0, limit=1), int, int)  # type: ignore[arg-type]
    told = [control.conf(state), control.report(state), remote.stats(state)]
    app.close()
    text = dumps(told, serializer="json")[2]
    assert "socket_timeout" in text
    assert "hush" not in text
    assert "rush" not in text


def test_options_of_tls_in_a_url_are_kept() -> None:
    wanted = "rediss://h/0?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=required"
    assert celery_url("rediss://h/0?ssl_ca_certs=/etc/ca.pem") == wanted


def test_messages_are_json_alone_and_acknowledged_late() -> None:
    conf: Any = build_app(WorkerSettings.load(), NO_LEDGER, int).conf
    assert conf.accept_content == ["json"]
    assert (conf.task_serializer, conf.result_serializer) == ("json", "json")
    assert conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1


def test_a_worker_has_the_name_that_is_set_or_one_of_its_own() -> None:
    host = socket.gethostname()
    for name, wanted in (("", f"seedmill-{os.getpid()}@{host}"), ("gpu0@%h", f"gpu0@{host}"), ("a@b", "a@b")):
        assert node_name(WorkerSettings.load(node_name=name).node_name) == wanted


@pytest.mark.parametrize("name", ["gpu0", "gpu 0@%h", "@", "a@b@c", "gpu0@%q"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="use name@host"):
        WorkerSettings.load(node_name=name)
