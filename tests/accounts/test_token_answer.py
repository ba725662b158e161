"""What an answer of the sign-in service means."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from accounts.token_answer import (
    CLOSED_REASONS,
    SIGN_IN_REASONS,
    Failed,
    Granted,
    Refusal,
    Refused,
    error_code,
    read_answer,
)
from tests.builders import NOW, make_jwt


def answer(status: int, content: Any) -> Granted | Refused | Failed:
    return read_answer(status, json.dumps(content).encode(), NOW)


def test_new_tokens_are_granted() -> None:
    access_token = make_jwt({"exp": NOW.timestamp()})
    content = {"access_token": access_token, "refresh_token": "r", "id_token": "i", "expires_in": 7}
    assert answer(200, content) == Granted(access_token, "r", "i", NOW)


def test_what_the_answer_omits_stays_in_force() -> None:
    content = {"access_token": "opaque", "expires_in": 60}
    assert answer(200, content) == Granted("opaque", "", "", NOW + timedelta(seconds=60))
    assert answer(200, {"access_token": "opaque", "expires_in": "soon"}) == Granted("opaque", "", "", None)


@pytest.mark.parametrize(
    "content", [{}, [], None, {"access_token": ""}, {"access_token": 7}, {"access_token": "a\nb"}]
)
def test_an_answer_without_an_access_token_is_a_failure(content: Any) -> None:
    assert isinstance(answer(200, content), Failed)


@pytest.mark.parametrize(
    "content",
    [
        {"error": {"code": "Invalid_Grant"}},
        {"error": " invalid_grant"},
        {"error_code": "INVALID_GRANT"},
        {"code": "invalid_grant"},
        {"error": {"message": "no code"}, "code": "invalid_grant"},
    ],
)
def test_a_code_is_found_where_it_is(content: Any) -> None:
    assert error_code(content) == "invalid_grant"


@pytest.mark.parametrize("code", SIGN_IN_REASONS)
def test_a_sign_in_is_needed(code: str) -> None:
    refused = answer(401, {"error": {"code": code}})
    assert refused == Refused(Refusal.SIGN_IN_NEEDED, code, SIGN_IN_REASONS[code])


@pytest.mark.parametrize("code", CLOSED_REASONS)
def test_an_account_is_closed(code: str) -> None:
    assert answer(403, {"error": {"code": code}}) == Refused(Refusal.CLOSED, code, CLOSED_REASONS[code])


@pytest.mark.parametrize("status", [302, 429, 500, 503])
def test_a_crowded_or_broken_service_refuses_nobody_for_good(status: int) -> None:
    found = answer(status, {"error": {"code": "invalid_grant"}})
    assert found == Failed(f"The sign-in service answered {status} (invalid_grant).")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b"[" * 100_000])
def test_an_odd_body_is_a_failure(body: bytes) -> None:
    assert read_answer(401, body, NOW) == Failed("The sign-in service answered 401.")


def test_an_unknown_code_is_a_failure() -> None:
    found = answer(401, {"error": {"code": "something_new"}})
    assert found == Failed("The sign-in service answered 401 (something_new).")
