"""What is asked and what is understood, without any service."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from accounts.sign_in_protocol import (
    Approved,
    CallbackError,
    Declined,
    Waiting,
    authorization_url,
    challenge,
    read_callback,
    read_device_code,
    read_device_poll,
    read_exchange,
    read_pasted,
)
from tests.builders import NOW, make_auth_json

CALLBACK = "http://localhost:1455/auth/callback"
XSS = "<script>alert(1)</script>"


def test_the_sign_in_page_is_asked_for_with_everything_it_needs() -> None:
    url = authorization_url(
        auth_base_url="https://auth.example", redirect_uri=CALLBACK, state="s", verifier="v" * 43
    )
    assert url.startswith("https://auth.example/oauth/authorize?")
    assert {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} == {
        "response_type": "code",
        "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
        "redirect_uri": CALLBACK,
        "scope": "openid profile email offline_access",
        "code_challenge": challenge("v" * 43),
        "code_challenge_method": "S256",
        "state": "s",
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
        "originator": "codex_cli_rs",
    }


def test_the_challenge_is_that_of_the_standard() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    "pasted",
    [
        f"{CALLBACK}?code=c&state=s",
        f"  {CALLBACK}?code=c&scope=openid+email&state=s\n",
        "http://127.0.0.1:1455/auth/callback?state=s&code=c#",
        "?code=c&state=s",
        "code=c&state=s",
    ],
)
def test_a_pasted_address_is_understood(pasted: str) -> None:
    callback = read_pasted(pasted)
    assert (callback.state, callback.code, callback.error) == ("s", "c", "")


@pytest.mark.parametrize(
    ("pasted", "message"),
    [
        ("", "Paste the address"),
        ("garbage", "should contain /auth/callback"),
        ("http://[", "not an address"),
        (CALLBACK, "should contain /auth/callback"),
        (f"{CALLBACK}?code=c", "no state"),
        (f"{CALLBACK}?state=s", "no code"),
        (f"{CALLBACK}?code=c&state=s&state=t", "something twice"),
        (f"{CALLBACK}?" + "&".join(f"a{n}=1" for n in range(60)), "too many parts"),
        (f"{CALLBACK}?code=c&state=s and more", "not one address"),
        ("x" * 9000, "not one address"),
        ("https://auth.openai.com/oauth/authorize?state=s&client_id=a", "address of the sign-in page"),
    ],
)
def test_anything_else_is_told_what_to_do(pasted: str, message: str) -> None:
    with pytest.raises(CallbackError, match=message):
        read_pasted(pasted)


def test_a_refusal_comes_in_the_words_of_the_service_cut_and_printable() -> None:
    callback = read_callback(f"state=s&error=denied&error_description={'x' * 500}%00%0A{XSS}")
    assert callback.error.startswith("The sign-in service refused: xxx")
    assert len(callback.error) < 250
    assert callback.error.isprintable()
    assert read_callback(f"state=s&error={XSS}").error.endswith(XSS)


@pytest.mark.parametrize(
    ("content", "code", "interval_s", "life"),
    [
        ({"user_code": "A-1", "interval": "5"}, "A-1", 5, 900),
        ({"usercode": "A-1", "interval": 7, "expires_in": 600}, "A-1", 7, 600),
        ({"user_code": "A-1", "interval": "soon", "expires_in": "99999999999999"}, "A-1", 5, 900),
        ({"user_code": "A-1", "expires_at": (NOW + timedelta(seconds=60)).isoformat()}, "A-1", 5, 60),
        ({"user_code": "A-1", "expires_at": (NOW + timedelta(seconds=60)).timestamp()}, "A-1", 5, 60),
        ({"user_code": "A-1", "expires_at": "never", "interval": 0}, "A-1", 5, 900),
        ({"user_code": "A-1", "interval": 3600}, "A-1", 60, 900),
    ],
)
def test_a_device_code_is_read(content: dict[str, Any], code: str, interval_s: int, life: int) -> None:
    device = read_device_code(200, json.dumps({"device_auth_id": "d", **content}).encode(), NOW)
    assert (device.user_code, device.interval_s) == (code, interval_s)
    assert device.expires_at == NOW + timedelta(seconds=life)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b"", "device_auth_unavailable"),
        (500, b"<html>", "device_auth_failed"),
        (200, b"{}", "device_auth_failed"),
        (200, b'{"device_auth_id": 7, "user_code": "A"}', "device_auth_failed"),
    ],
)
def test_no_device_code_is_told(status: int, body: bytes, code: str) -> None:
    with pytest.raises(Declined) as refusal:
        read_device_code(status, body, NOW)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (403, b"", Waiting()),
        (404, b'{"error": "unknown"}', Waiting()),
        (400, b'{"error": {"code": "authorization_pending"}}', Waiting()),
        (400, b'{"error": "slow_down"}', Waiting(slower=True)),
        (429, b"", Waiting(slower=True)),
        (502, b"<html>", Waiting()),
        (200, b'{"authorization_code": "c", "code_verifier": "v"}', Approved("c", "v")),
    ],
)
def test_an_answer_about_a_device_code_is_read(status: int, body: bytes, answer: object) -> None:
    assert read_device_poll(status, body) == answer


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b'{"error": "expired_token"}'), (200, b"{}"), (200, b"["), (401, b"")],
)
def test_a_device_code_may_be_refused(status: int, body: bytes) -> None:
    with pytest.raises(Declined, match="not accepted"):
        read_device_poll(status, body)


def test_tokens_are_read_and_count_as_fresh() -> None:
    auth = read_exchange(200, json.dumps(make_auth_json()["tokens"]).encode(), NOW)
    assert (auth.email, auth.chatgpt_account_id, auth.is_fresh) == ("ann@example.com", "acc-1", True)
    assert auth.refreshed_at == NOW
    assert "rt-ann" not in repr(auth)


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (400, {"error": {"code": "invalid_grant"}}, "expired or was used before"),
        (403, {"error": "access_denied"}, "403 \\(access_denied\\)"),
        (500, {}, "answered 500"),
        (200, {}, "without usable tokens"),
        (200, {"id_token": "a", "access_token": "b", "refresh_token": "c"}, "who has signed in"),
    ],
)
def test_an_exchange_that_failed_is_told(status: int, content: dict[str, Any], message: str) -> None:
    with pytest.raises(Declined, match=message):
        read_exchange(status, json.dumps(content).encode(), NOW)
