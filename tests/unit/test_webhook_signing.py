"""Events and their signatures, verified by the library that receivers use; and the secrets that sign."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from producer import JobStatus
from producer.api.webhooks import secrets
from producer.api.webhooks.settings import WebhookSettings
from producer.api.webhooks.signing import Event
from producer.errors import SettingsError
from producer.job import JobRecord

FIELDS = {
    "status": "succeeded",
    "total": "2",
    "chunks": "1",
    "running": "0",
    "succeeded": "2",
    "failed": "0",
    "created_ms": "1000",
    "started_ms": "2000",
    "completed_ms": "3123",
    "expires_ms": "9000",
}
RECORD = JobRecord.parse("nightly", FIELDS, now_ms=3123, position=None)
MASTERS = [bytes([number]) * 32 for number in (1, 2)]


def event_of(record: JobRecord) -> Event:
    event = Event.of(record)
    assert event is not None
    return event


def test_a_receiver_can_verify_what_it_gets() -> None:
    event = event_of(RECORD)
    (secret,) = secrets.tenant_secrets(MASTERS[:1], "alice")
    headers = event.headers([secret], datetime.now(UTC))
    facts = Webhook(secret).verify(event.body, headers)
    assert facts == {
        "type": "job.completed",
        "timestamp": "1970-01-01T00:00:03.123000+00:00",
        "data": {**RECORD.to_dict(), "webhook": RECORD.webhook, "error": None},
    }
    assert event.body == json.dumps(facts, separators=(",", ":")).encode()
    for other in secrets.tenant_secrets(MASTERS[:1], "bob"):
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify(event.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(event.body + b" ", headers)


def test_while_secrets_rotate_both_verify() -> None:
    event, both = event_of(RECORD), secrets.tenant_secrets(MASTERS, "alice")
    headers = event.headers(both, datetime.now(UTC))
    for secret in both:
        Webhook(secret).verify(event.body, headers)
    assert headers["webhook-signature"].startswith(Webhook(both[0]).sign(event.id, datetime.now(UTC), "")[:3])
    assert len(headers["webhook-signature"].split(" ")) == 2


def test_an_attempt_that_was_recorded_cannot_be_sent_again_later() -> None:
    event, (secret,) = event_of(RECORD), secrets.tenant_secrets(MASTERS[:1], "")
    headers = event.headers([secret], datetime.now(UTC) - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(event.body, headers)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (JobStatus.SUCCEEDED, "job.completed"),
        (JobStatus.FAILED, "job.failed"),
        (JobStatus.CANCELED, "job.canceled"),
    ],
)
def test_each_end_has_its_type(status: JobStatus, kind: str) -> None:
    event = event_of(replace(RECORD, status=status))
    assert (event.type, json.loads(event.body)["type"]) == (kind, kind)


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.EXPIRED])
def test_there_is_nothing_to_tell_of_a_job_that_has_not_ended(status: JobStatus) -> None:
    assert Event.of(replace(RECORD, status=status)) is None


def test_an_event_has_one_id_and_another_end_another() -> None:
    first = event_of(RECORD)
    assert first == event_of(RECORD)
    later = replace(RECORD, completed_at=datetime.fromtimestamp(3.124, UTC))
    ids = {
        event_of(one).id for one in (RECORD, later, replace(RECORD, id="n"), replace(RECORD, status=JobStatus.FAILED))
    }
    assert len(ids) == 4
    assert first.id.startswith("msg_")
    assert first.id.isascii()
    assert "." not in first.id


def test_a_tenants_secret_is_the_same_everywhere_and_tells_nothing_of_others() -> None:
    assert secrets.tenant_secrets(MASTERS, "alice") == secrets.tenant_secrets(MASTERS, "alice")
    found = {secret for tenant in ("", "alice", "bob") for secret in secrets.tenant_secrets(MASTERS, tenant)}
    assert len(found) == 6
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in found)


def test_masters_are_read_in_order() -> None:
    text = " , ".join("whsec_" + base64.b64encode(master).decode() for master in MASTERS)
    assert secrets.set_masters(WebhookSettings(webhook_secret=SecretStr(text))) == MASTERS
    assert secrets.set_masters(WebhookSettings()) == []


@pytest.mark.parametrize("text", ["hush-hush", "whsec_hush", "whsec_aHVzaA==", "whsec_", "whsec_%%%%"])
def test_a_master_that_cannot_be_used_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="SEEDMILL_WEBHOOK_SECRET has a value") as caught:
        secrets.set_masters(WebhookSettings(webhook_secret=SecretStr(text)))
    assert "hush" not in str(caught.value)
    assert text.removeprefix("whsec_") in ("", *"") or text not in str(caught.value)
