"""``seedmill webhooks``, run as a user runs it."""

from __future__ import annotations

import json

from producer import Client
from producer.api.webhooks.store import DeadWebhook
from producer.contract import WEBHOOK_DEAD_INDEX_KEY, WEBHOOK_DEAD_KEY, WEBHOOKS_KEY
from tests.support import one_line, run_seedmill
from worker.local.stack import Endpoints


def test_webhooks_that_were_given_up_can_be_listed_sent_again_and_purged(quiet: Endpoints) -> None:
    environment = quiet.environment()
    with Client(quiet.redis_url) as client:
        job = client.submit(7)
        letters = [
            DeadWebhook(f"msg_{of}", of, "https://h/\x1b[2J", "job.failed", 9, "status\n500", "2026-01-01", "alice")
            for of in (job.id, "gone")
        ]
        for number, letter in enumerate(letters):
            client._redis.hset(WEBHOOK_DEAD_KEY, letter.id, letter.encode())
            client._redis.zadd(WEBHOOK_DEAD_INDEX_KEY, {letter.id: number})
        listed = run_seedmill("webhooks", "dead", environment=environment)
        assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == ["msg_gone", f"msg_{job.id}"]
        assert "\x1b" not in listed.stdout
        newest = run_seedmill("webhooks", "dead", "--limit", "1", "--json", environment=environment)
        assert json.loads(newest.stdout) == [letters[1].to_dict()]
        refused = run_seedmill("webhooks", "replay", "msg_gone", environment=environment)
        assert (refused.returncode, "has expired: purge it" in one_line(refused.stderr)) == (1, True)
        done = json.loads(run_seedmill("webhooks", "replay", "--all", "--json", environment=environment).stdout)
        assert (done["replayed"], len(done["refused"])) == ([f"msg_{job.id}"], 1)
        assert client._redis.zrange(WEBHOOKS_KEY, 0, -1) == [job.id]
    unknown = run_seedmill("webhooks", "replay", "msg_nobody", environment=environment)
    assert (unknown.returncode, "seedmill webhooks dead" in one_line(unknown.stderr)) == (2, True)
    assert run_seedmill("webhooks", "purge", environment=environment).returncode == 2
    assert "1 webhook forgotten" in run_seedmill("webhooks", "purge", "--all", environment=environment).stdout


def test_the_secret_of_a_tenant_is_told_and_lasts(quiet: Endpoints) -> None:
    environment = quiet.environment()
    first, again = (run_seedmill("webhooks", "secret", environment=environment).stdout for _ in range(2))
    assert first == again
    assert first.startswith("whsec_")
    wrong = run_seedmill("webhooks", "secret", environment={**environment, "SEEDMILL_WEBHOOK_SECRET": "hush-hush"})
    assert (wrong.returncode, "SEEDMILL_WEBHOOK_SECRET" in one_line(wrong.stderr)) == (2, True)
    assert "hush" not in wrong.stderr
    rotated = {**environment, "SEEDMILL_WEBHOOK_SECRET": f"whsec_{'A' * 43}=,whsec_{'B' * 43}="}
    told = run_seedmill("webhooks", "secret", "--tenant", "alice", "--json", environment=rotated)
    assert json.loads(told.stdout)["tenant"] == "alice"
    assert len(set(json.loads(told.stdout)["secrets"])) == 2
