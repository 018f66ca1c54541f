"""API keys: their text, what is kept of them, and that nothing but the key itself passes."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer import keys
from producer.errors import SettingsError
from producer.keys import KEY, NO_HASH, ApiKey, Scope, hash_of, id_of, make_key, verify

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_key_tells_its_id_and_is_the_only_one_that_passes() -> None:
    text, key = make_key("ci")
    assert KEY.fullmatch(text)
    assert (id_of(text), key.tenant) == (key.id, key.id)
    assert key.scopes == {Scope.SUBMIT, Scope.READ}
    assert (key.rate, key.share, key.expires_at) == (None, None, None)
    assert verify(text, key, NOW)
    assert not verify(make_key("ci")[0], key, NOW)


def test_each_character_of_a_key_counts() -> None:
    text, key = make_key("ci")
    for place, character in enumerate(text):
        changed = "A" if character != "A" else "B"
        assert not verify(text[:place] + changed + text[place + 1 :], key, NOW), place
        assert not verify(text[:place] + text[place + 1 :], key, NOW), place
    assert not verify(text + "A", key, NOW)


@pytest.mark.parametrize(
    "shape", ["", "{}=", " {}", "{}\n", "x{}", "sm_", "sm_abcdefghijkl_", "sm_ABCDEFGHIJKL_" + "a" * 43]
)
def test_what_is_no_key_has_no_id(shape: str) -> None:
    assert id_of(shape.format(make_key("ci")[0])) is None


def test_the_secret_is_nowhere_in_what_is_kept_and_its_hash_nowhere_in_what_is_shown() -> None:
    text, key = make_key("ci", expires_days=1)
    assert text[16:] not in key.encode()
    assert key.sha256 == hash_of(text)
    assert key.sha256 not in json.dumps(key.to_dict())


def test_right_wrong_and_unknown_keys_cost_one_comparison_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    compare = hmac.compare_digest

    def noting(left: str, right: str) -> bool:
        compared.append((left, right))
        return compare(left, right)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    text, key = make_key("ci")
    wrong = make_key("other")[0]
    assert [verify(text, key, NOW), verify(wrong, key, NOW), verify(text, None, NOW)] == [True, False, False]
    assert compared == [(hash_of(text), key.sha256), (hash_of(wrong), key.sha256), (hash_of(text), NO_HASH)]


def test_a_key_is_good_until_it_expires() -> None:
    text, key = make_key("ci", expires_days=2)
    made = datetime.fromisoformat(key.created_at)
    assert verify(text, key, made + timedelta(days=2, seconds=-1))
    assert not verify(text, key, made + timedelta(days=2))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"name": ""}, "name=''"),
        ({"name": "a\nb"}, r"name='a\\nb'"),
        ({"name": "n" * 101}, "name='nnn"),
        ({"tenant": "a b"}, "tenant='a b'"),
        ({"tenant": ""}, "tenant=''"),
        ({"rate": -1}, "rate=-1"),
        ({"rate": True}, "rate=True"),
        ({"rate": 10**5000}, "rate=a number of"),
        ({"share": 0}, "share=0"),
        ({"share": 1.5}, r"share=1\.5"),
        ({"share": float("nan")}, "share=nan"),
        ({"expires_days": 0}, "expires_days=0"),
        ({"expires_days": 10**9}, "expires_days=1000000000"),
    ],
)
def test_what_no_key_can_have_is_refused_by_its_value(values: dict[str, Any], shown: str) -> None:
    with pytest.raises(SettingsError, match=shown):
        make_key(**{"name": "ci", **values})


@given(
    name=st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=100),
    tenant=st.none() | st.from_regex(keys.TENANT, fullmatch=True),
    scopes=st.sets(st.sampled_from(Scope)),
    rate=st.none() | st.integers(0, keys.MAX_RATE),
    share=st.none() | st.floats(0, 1, exclude_min=True),
    days=st.none() | st.integers(1, keys.MAX_EXPIRES_DAYS),
)
def test_what_is_kept_is_read_as_it_was(
    name: str, tenant: str | None, scopes: set[Scope], rate: int | None, share: float | None, days: int | None
) -> None:
    _, key = make_key(name, tenant=tenant, scopes=scopes, rate=rate, share=share, expires_days=days)
    assert ApiKey.decode(key.id, key.encode()) == key


def test_members_and_scopes_of_a_newer_release_are_ignored() -> None:
    _, key = make_key("ci")
    newer = json.loads(key.encode()) | {"colour": "blue", "scopes": ["read", "paint"]}
    read = ApiKey.decode(key.id, json.dumps(newer))
    assert read is not None
    assert read.scopes == {Scope.READ}


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0"},
        {"sha256": None},
        {"name": 5},
        {"tenant": ""},
        {"tenant": "a b"},
        {"scopes": None},
        {"created_at": "yesterday"},
        {"rate": "many"},
        {"share": 2},
        {"expires_at": "never"},
        {"expires_at": 0},
        {"expires_at": "2026-01-01T00:00:00"},
    ],
)
def test_an_entry_with_a_value_of_another_kind_is_no_key(change: dict[str, Any]) -> None:
    _, key = make_key("ci")
    assert ApiKey.decode(key.id, json.dumps(json.loads(key.encode()) | change)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"text"', "{}", "[" * 100_000, '{"rate": 1e999}'])
def test_foreign_junk_is_no_key(text: str) -> None:
    assert ApiKey.decode("abcdefghijkl", text) is None


def test_an_entry_under_what_is_no_id_is_no_key() -> None:
    _, key = make_key("ci")
    assert ApiKey.decode("\x1b[2J", key.encode()) is None
