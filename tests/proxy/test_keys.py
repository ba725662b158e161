from __future__ import annotations

import base64

from proxy.keys import KeyView, key_hash, new_key, presented_key


def test_a_key_is_our_prefix_and_32_random_bytes() -> None:
    key = new_key()
    assert key.startswith("sk-cp-")
    assert len(base64.urlsafe_b64decode(key.removeprefix("sk-cp-") + "=")) == 32
    assert new_key() != key


def test_only_a_hash_can_be_stored() -> None:
    assert len(key_hash("sk-cp-x")) == 64
    assert key_hash("sk-cp-x") == key_hash("sk-cp-x") != key_hash("sk-cp-y")
    assert key_hash("\udcff")


def test_a_key_comes_as_bearer_or_in_its_own_header() -> None:
    assert presented_key({"authorization": "Bearer sk-cp-a"}) == "sk-cp-a"
    assert presented_key({"authorization": "bearer  sk-cp-a "}) == "sk-cp-a"
    assert presented_key({"x-api-key": "sk-cp-b"}) == "sk-cp-b"
    assert presented_key({}) == presented_key({"authorization": "Basic sk-cp-a"}) == ""


def test_of_two_the_one_that_is_ours_counts() -> None:
    # Codex sends its own sign-in along with whatever header it is configured to send.
    assert presented_key({"authorization": "Bearer eyJ", "x-api-key": "sk-cp-b"}) == "sk-cp-b"
    assert presented_key({"authorization": "Bearer sk-cp-a", "x-api-key": "other"}) == "sk-cp-a"
    assert presented_key({"authorization": "Bearer eyJ", "x-api-key": "other"}) == "eyJ"


def test_a_list_of_models_shows_what_the_key_may_ask() -> None:
    assert KeyView(1).lists_model("any")
    some = KeyView(1, allowed_models=frozenset({"a", "b"}))
    assert [some.lists_model(name) for name in "abc"] == [True, True, False]
    one = KeyView(1, enforced_model="a")
    assert [one.lists_model(name) for name in "ab"] == [True, False]
