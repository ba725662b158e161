from __future__ import annotations

import pytest

from proxy.affinity import Affinity, Ages, Entry, conversation_key, file_key

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "cache_key", "expected"),
    [
        ({"session-id": " s ", "thread-id": "t"}, "p", "s"),
        ({"session_id": "u", "thread-id": "t"}, None, "u"),
        ({"thread-id": "t", "x-client-request-id": "c"}, None, "t"),
        ({"x-client-request-id": "c"}, "p", "c"),
        ({}, " k1 ", "k1"),
        ({"session-id": "  "}, None, ""),
    ],
)
def test_the_conversation_is_named_by_the_first_of_its_names(
    headers: dict[str, str], cache_key: str | None, expected: str
) -> None:
    assert conversation_key(headers, cache_key) == expected


def test_a_very_long_name_is_shortened_without_collisions() -> None:
    keys = {conversation_key({"session-id": "x" * 300 + end}, None) for end in "ab"}
    assert len(keys) == 2
    assert all(len(key) < 100 for key in keys)


@pytest.mark.parametrize("broken", ["a\x00b", "a\ud800b"])
def test_a_name_that_no_database_can_hold_is_replaced_without_collisions(broken: str) -> None:
    keys = {
        conversation_key({"session-id": broken}, None),
        conversation_key({}, broken),
        conversation_key({}, broken + "c"),
        file_key(broken),
    }
    assert len(keys) == 3
    assert all(key.startswith("sha256:") and len(key) < 100 for key in keys)


def test_a_conversation_that_has_not_served_yet_follows_the_account_that_does() -> None:
    affinity = Affinity()
    affinity.assign("k", "a", NOW)
    affinity.served("k", "b", NOW, moves=False)
    assert affinity.get("k", NOW) == Entry("b", NOW, served=True)


def test_through_a_short_block_the_mapping_is_kept() -> None:
    affinity = Affinity()
    affinity.served("k", "a", NOW, moves=False)
    affinity.served("k", "b", NOW + 1, moves=False)
    entry = affinity.get("k", NOW + 1)
    assert entry is not None
    assert entry.account_id == "a"


def test_a_conversation_that_moves_stays_where_it_went() -> None:
    affinity = Affinity()
    affinity.served("k", "a", NOW, moves=False)
    affinity.served("k", "b", NOW + 1, moves=True)
    entry = affinity.get("k", NOW + 1)
    assert entry is not None
    assert entry.account_id == "b"


def test_a_pinned_hit_touches_the_time() -> None:
    affinity = Affinity()
    affinity.served("k", "a", NOW, moves=False)
    affinity.take_changed()
    affinity.served("k", "a", NOW + 60, moves=False)
    assert [(key, entry.updated_at) for key, entry in affinity.take_changed()] == [("k", NOW + 60)]


def test_an_old_conversation_is_new_again() -> None:
    affinity = Affinity()
    affinity.served("k", "a", NOW, moves=False)
    assert affinity.get("k", NOW + 31 * 86_400) is None


def test_a_derived_key_is_forgotten_after_half_an_hour() -> None:
    affinity = Affinity()
    affinity.load("k", Entry("a", NOW, derived=True, served=True))
    assert affinity.get("k", NOW + 1799) is not None
    assert affinity.get("k", NOW + 1801) is None


def test_the_map_is_bounded_and_the_longest_unused_goes_first() -> None:
    affinity = Affinity(capacity=2)
    for key in ("a", "b", "c"):
        affinity.served(key, "x", NOW, moves=False)
    assert [affinity.get(key, NOW) is not None for key in ("a", "b", "c")] == [False, True, True]


def test_what_the_process_knows_is_newer_than_the_database() -> None:
    affinity = Affinity()
    affinity.served("k", "a", NOW, moves=False)
    affinity.load("k", Entry("b", NOW - 5, served=True))
    entry = affinity.get("k", NOW)
    assert entry is not None
    assert entry.account_id == "a"


@pytest.mark.parametrize(
    ("derived", "age_s", "is_kept"), [(True, 59, True), (True, 60, False), (False, 60, True)]
)
def test_conversations_are_kept_as_long_as_the_settings_say(
    derived: bool, age_s: float, is_kept: bool
) -> None:
    affinity = Affinity()
    affinity.ages = Ages(named_s=3600.0, derived_s=60.0)
    affinity.assign("k", "a", NOW, derived=derived)
    assert (affinity.get("k", NOW + age_s) is not None) is is_kept


def test_files_are_kept_apart_from_conversations_and_from_growing_long() -> None:
    assert file_key("a") != conversation_key({"session-id": "a"}, None)
    assert len(file_key("a" * 300)) < 100


def test_a_purged_conversation_is_forgotten_unless_it_has_gone_on_since() -> None:
    affinity = Affinity()
    affinity.served("before", "a", 100.0, moves=False)
    affinity.served("since", "a", 300.0, moves=False)
    for key in ("before", "since", "unknown"):
        affinity.purge(key, 200.0)
    assert affinity.get("before", 300.0) is None
    assert affinity.get("since", 300.0) is not None
    assert [key for key, _ in affinity.take_changed()] == ["since"]
