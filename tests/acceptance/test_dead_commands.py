"""``seedmill dead`` and ``seedmill reconcile``, run as a user runs them."""

from __future__ import annotations

import json

from producer import Client
from producer.contract import DEAD_INDEX_KEY, DEAD_KEY, Priority
from producer.dead import DeadLetter
from tests.support import one_line, run_seedmill
from worker.local.stack import Endpoints


def test_dead_letters_can_be_listed_shown_and_purged(quiet: Endpoints) -> None:
    environment = quiet.environment()
    letter = DeadLetter(
        "\x1b[2Jx", "2026-01-01T00:00:00.000+00:00", "ValueError: \x1b[31mbad\nline", raw="raw", whole=True
    )
    with Client(quiet.redis_url) as client:
        client._redis.hset(DEAD_KEY, letter.id, letter.encode())
        client._redis.zadd(DEAD_INDEX_KEY, {letter.id: 1})
    listed = run_seedmill("dead", "list", environment=environment)
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 1)
    assert "\x1b" not in listed.stdout
    assert json.loads(run_seedmill("dead", "list", "--json", environment=environment).stdout)[0]["raw"] == "raw"
    assert (
        json.loads(run_seedmill("dead", "show", letter.id, "--json", environment=environment).stdout)["id"] == letter.id
    )
    shown = run_seedmill("dead", "show", letter.id, environment=environment)
    assert "message: raw" in shown.stdout
    assert (
        json.loads(run_seedmill("dead", "replay", "--all", "--json", environment=environment).stdout)["refused"] == []
    )
    again = run_seedmill("dead", "replay", letter.id, environment=environment)
    assert (again.returncode, "there is no dead letter" in one_line(again.stderr)) == (2, True)
    assert run_seedmill("dead", "purge", environment=environment).returncode == 2
    assert "0 dead letters forgotten" in run_seedmill("dead", "purge", "--all", environment=environment).stdout


def test_reconcile_says_what_it_found(quiet: Endpoints) -> None:
    environment = quiet.environment()
    job = json.loads(run_seedmill("submit", "1", "--priority", "bulk", "--json", environment=environment).stdout)
    assert "1 job not ended, 0 lost chunks enqueued again" in run_seedmill("reconcile", environment=environment).stdout
    with Client(quiet.redis_url) as client:
        client._redis.delete(Priority.BULK.lane)
        done = run_seedmill("reconcile", "--json", environment=environment)
        assert json.loads(done.stdout) == {"active_jobs": 1, "republished": 1, "forgotten": 0}
        assert client.queue().waiting == 1
        assert client.get(job["id"]).status == "queued"
