"""Reading auth.json."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.auth_file import AuthFileError, documents, dump, parse
from accounts.claims import AUTH_CLAIM
from tests.builders import NOW, make_auth_json, make_jwt


def parsed(content: Any) -> Any:
    return parse(json.dumps(content).encode())


def test_it_works() -> None:
    auth = parsed(make_auth_json(expires_at=NOW, user_id="user-1"))
    assert (auth.email, auth.plan_type, auth.chatgpt_account_id) == ("ann@example.com", "plus", "acc-1")
    assert auth.claims.user_id == "user-1"
    assert auth.refresh_token == "rt-ann@example.com"
    assert auth.access_expires_at == NOW
    # Nanoseconds are cut.
    assert auth.refreshed_at == datetime(2026, 11, 19, 10, 0, 0, 123456, tzinfo=UTC)


def test_camel_case_is_understood() -> None:
    snake = make_auth_json()
    tokens = snake["tokens"]
    camel = {
        "tokens": {
            "idToken": tokens["id_token"],
            "accessToken": tokens["access_token"],
            "refreshToken": tokens["refresh_token"],
            "accountId": "acc-1",
        },
        "lastRefreshAt": snake["last_refresh"],
    }
    assert parsed(camel) == parsed(snake)


def test_the_account_id_of_the_file_beats_the_claim() -> None:
    content = make_auth_json(account_id="claimed", tokens={"account_id": "written"})
    assert parsed(content).chatgpt_account_id == "written"
    content["tokens"]["account_id"] = None
    assert parsed(content).chatgpt_account_id == "claimed"


def test_garbage_tokens_are_an_unknown_person() -> None:
    tokens = {"id_token": "x", "access_token": "y", "refresh_token": "z"}
    auth = parsed({"tokens": tokens, "last_refresh": "yesterday"})
    assert (auth.email, auth.plan_type) == ("unknown@example.com", "unknown")
    assert auth.chatgpt_account_id == ""
    assert auth.account_ids[0].startswith("local_")
    assert (auth.access_expires_at, auth.refreshed_at) == (None, None)


def test_opencode_is_understood() -> None:
    claims = {"email": "ann@example.com", AUTH_CLAIM: {"chatgpt_account_id": "acc-1"}}
    own = {
        "type": "oauth",
        "refresh": "r",
        "access": make_jwt(claims),
        "expires": NOW.timestamp() * 1000,
        "accountId": "acc-2",
    }
    auth = parsed({"openai": own, "anthropic": {"type": "api", "key": "k"}})
    assert (auth.email, auth.chatgpt_account_id, auth.id_token) == ("ann@example.com", "acc-2", "")
    assert auth.access_expires_at == NOW


def without(name: str) -> bytes:
    content = make_auth_json()
    del content["tokens"][name]
    return json.dumps(content).encode()


def changed(**tokens: Any) -> bytes:
    return json.dumps(make_auth_json(tokens=tokens)).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "auth.json is empty"),
        (b" \n", "auth.json is empty"),
        (b"\xff\xfe\x00", "auth.json is not text"),
        (b"{", "auth.json is not valid JSON"),
        (b"[" * 100_000, "auth.json is not valid JSON"),
        (b"[]", "auth.json must be a JSON object"),
        (b"{}", "auth.json has no tokens"),
        (b'{"tokens": null}', "auth.json has no tokens"),
        (b'{"tokens": []}', "tokens must be an object"),
        (b'{"tokens": {}}', "auth.json has no tokens.id_token"),
        (without("access_token"), "auth.json has no tokens.access_token"),
        (without("refresh_token"), "auth.json has no tokens.refresh_token"),
        (changed(refresh_token=""), "tokens.refresh_token is empty"),
        (changed(refresh_token=7), "tokens.refresh_token must be text"),
        (changed(access_token="a\nb"), "tokens.access_token is not a token"),
        (changed(account_id=7), "tokens.account_id must be text"),
        (changed(account_id="a" * 121), "tokens.account_id is not an account id"),
        (changed(account_id="a\r\nb"), "tokens.account_id is not an account id"),
        (
            b'{"OPENAI_API_KEY": "sk-1", "tokens": null}',
            "auth.json holds an API key but no tokens: sign in with ChatGPT instead",
        ),
        (b'{"openai": {"type": "oauth", "access": "a"}}', "auth.json has no openai.refresh"),
        (
            b'{"openai": {"type": "api", "key": "k"}}',
            'auth.json has no ChatGPT sign-in: openai.type must be "oauth"',
        ),
    ],
)
def test_the_message_says_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(AuthFileError) as caught:
        parse(data)
    assert str(caught.value) == message


def test_no_token_is_part_of_a_repr() -> None:
    content = make_auth_json()
    shown = repr(parsed(content))
    assert not any(token in shown for token in content["tokens"].values() if token != "acc-1")


def test_several_objects_may_stand_one_after_the_other() -> None:
    assert documents('{"a": 1}\n\n {"b": {"c": 2}}{}  ') == ['{"a": 1}', '{"b": {"c": 2}}', "{}"]
    assert documents('{"a": 1} and more') == ['{"a": 1} and more']


@pytest.mark.parametrize(
    "content",
    [
        make_auth_json(),
        {"openai": {"type": "oauth", "access": make_jwt({"email": "a@b.c"}), "refresh": "r", "expires": 1}},
        {"openai": {"type": "oauth", "access": "opaque", "refresh": "r", "accountId": "acc-1"}},
    ],
)
def test_what_was_read_can_be_kept_and_read_again(content: dict[str, Any]) -> None:
    auth = parse(json.dumps(content))
    assert parse(dump(auth)) == auth
