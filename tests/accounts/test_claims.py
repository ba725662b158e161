"""What a token says."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.claims import AUTH_CLAIM, PROFILE_CLAIM, Claims, read_claims
from tests.builders import make_jwt


def test_it_works() -> None:
    token = make_jwt(
        {
            "email": "ann@example.com",
            "sub": "sub-1",
            "exp": 1_800_000_000,
            AUTH_CLAIM: {
                "chatgpt_account_id": "acc-1",
                "chatgpt_plan_type": "plus",
                "chatgpt_user_id": "user-1",
                "workspace_id": "ws-1",
                "workspace_name": "Ours",
            },
        }
    )
    assert read_claims(token) == Claims(
        email="ann@example.com",
        user_id="user-1",
        account_id="acc-1",
        plan_type="plus",
        workspace_id="ws-1",
        workspace_label="Ours",
        expires_at=datetime.fromtimestamp(1_800_000_000, UTC),
    )


@pytest.mark.parametrize(
    ("claims", "user_id"),
    [
        ({"sub": "s", AUTH_CLAIM: {"chatgpt_user_id": "c", "user_id": "u"}}, "c"),
        ({"sub": "s", AUTH_CLAIM: {"user_id": "u"}}, "u"),
        ({"sub": "s"}, "s"),
    ],
)
def test_the_most_telling_user_id_is_taken(claims: dict[str, Any], user_id: str) -> None:
    assert read_claims(make_jwt(claims)).user_id == user_id


def test_the_e_mail_of_an_access_token_is_in_its_profile() -> None:
    token = make_jwt({PROFILE_CLAIM: {"email": "ann@example.com"}})
    assert read_claims(token).email == "ann@example.com"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b",
        "a.é.c",
        "a..c",
        "a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c",
        "a." + base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".c",
        make_jwt({"email": 7, "exp": "soon", AUTH_CLAIM: "no"}),
        make_jwt({"email": "x" * 300, "exp": True, "sub": "two words"}),
        make_jwt({"exp": float("nan"), "sub": "a\x00b", AUTH_CLAIM: {"workspace_name": "a\nb"}}),
        make_jwt({"exp": 10**30, "iat": -1}),
    ],
)
def test_garbage_says_nothing(token: str) -> None:
    assert read_claims(token) == Claims()
