"""``seedmill keys``, run as a user runs it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from producer.keys import KeyStore, id_of, make_key
from tests.support import one_line, run_seedmill
from worker.local.stack import Endpoints


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(quiet: Endpoints) -> None:
    environment = quiet.environment()
    made = run_seedmill("keys", "create", "ci", environment=environment)
    text = made.stdout.strip()
    key_id = id_of(text)
    assert key_id is not None
    assert "this once alone" in one_line(made.stderr)
    assert text not in made.stderr
    listed = run_seedmill("keys", "list", environment=environment)
    assert listed.stdout == f"{key_id}\tci\t{key_id}\tsubmit, read\t\n"
    gone = run_seedmill("keys", "revoke", text, environment=environment)
    assert (gone.returncode, gone.stdout) == (0, f"key {key_id} is revoked\n")
    again = run_seedmill("keys", "revoke", key_id, environment=environment)
    assert (again.returncode, f"there is no API key '{key_id}'" in one_line(again.stderr)) == (2, True)
    assert json.loads(run_seedmill("keys", "list", "--json", environment=environment).stdout) == []


def test_a_key_has_what_was_asked_for(quiet: Endpoints) -> None:
    options = ["--scope=admin", "--tenant=studio", "--rate=60", "--share=0.25", "--expires-days=30", "--json"]
    made = json.loads(run_seedmill("keys", "create", "ops", *options, environment=quiet.environment()).stdout)
    assert id_of(made["key"]) == made["id"]
    assert (made["name"], made["tenant"], made["scopes"]) == ("ops", "studio", ["admin"])
    assert (made["rate"], made["share"]) == (60, 0.25)
    lasts = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert lasts == timedelta(days=30)
    with KeyStore(quiet.redis_url) as store:
        assert [key.to_dict() for key in store.all()] == [
            {name: value for name, value in made.items() if name != "key"}
        ]


def test_names_that_command_a_terminal_are_shown_harmless_and_junk_is_left_out(quiet: Endpoints) -> None:
    _, key = make_key("harmless")
    with KeyStore(quiet.redis_url) as store:
        store._redis.hset("seedmill:api-keys", key.id, key.encode().replace("harmless", r"\u001b[2Jx"))
        store._redis.hset("seedmill:api-keys", "junk", "{")
    listed = run_seedmill("keys", "list", environment=quiet.environment())
    assert (len(listed.stdout.splitlines()), "\x1b" in listed.stdout) == (1, False)


def test_a_value_that_no_key_can_have_is_refused_by_name(quiet: Endpoints) -> None:
    environment = quiet.environment()
    refused = run_seedmill("keys", "create", "ci", "--tenant", "a b", environment=environment)
    assert (refused.returncode, "tenant='a b'" in one_line(refused.stderr)) == (2, True)
    assert run_seedmill("keys", "create", "ci", "--scope", "paint", environment=environment).returncode == 2
    away = run_seedmill("keys", "list", "--redis-url", "redis://127.0.0.1:1/0", environment=environment)
    assert (away.returncode, "does not answer" in one_line(away.stderr)) == (3, True)
