from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from urllib.parse import parse_qs, urlsplit

import httpx

from proxy.simulator import CLIENT_ID, Refreshed, RefreshRefused, SimAccount, Simulator

from .requests_made import ask


def refresh(client: httpx.Client, token: str) -> httpx.Response:
    fields = {"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": token}
    return client.post("/oauth/token", json=fields)


def test_it_works(client: httpx.Client, sim: Simulator, account: SimAccount) -> None:
    former = account.refresh_token
    answer = refresh(client, former).json()
    assert answer["refresh_token"] == account.refresh_token != former
    assert answer["access_token"] == account.access_token
    assert ask(client, account).status_code == 200
    assert [(call.account_id, call.status) for call in sim.refreshes] == [("acct-A", 200)]


def test_a_spent_refresh_token_is_a_violation(
    client: httpx.Client, sim: Simulator, account: SimAccount
) -> None:
    former = account.refresh_token
    refresh(client, former)
    answer = refresh(client, former)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "refresh_token_reused"
    assert len(sim.violations) == 1


def test_refusals_are_scripted_and_leave_the_token_unspent(client: httpx.Client, account: SimAccount) -> None:
    account.script_refresh(RefreshRefused.server_error(), RefreshRefused.expired(), Refreshed(id_token=False))
    token = account.refresh_token
    answers = [refresh(client, token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 401, 200]
    assert "id_token" not in answers[2].json()


def test_the_browser_flow_checks_the_verifier(client: httpx.Client, sim: Simulator) -> None:
    sim.auto_approve = "acct-B"
    verifier = "v" * 50
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "http://localhost:1455/auth/callback",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "scope": "openid offline_access",
        "state": "s1",
    }
    fields = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "redirect_uri": query["redirect_uri"],
    }
    answers = []
    for given in ("wrong", verifier):
        location = client.get("/oauth/authorize", params=query).headers["location"]
        answer = parse_qs(urlsplit(location).query)
        assert answer["state"] == ["s1"]
        form = fields | {"code": answer["code"][0], "code_verifier": given}
        answers.append(client.post("/oauth/token", data=form))
    assert [answer.status_code for answer in answers] == [400, 200]
    assert answers[1].json()["access_token"] == sim.accounts["acct-B"].access_token


def test_the_sign_in_page_offers_each_account(client: httpx.Client) -> None:
    query = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "http://localhost:1455/auth/callback",
        "code_challenge": "c",
        "code_challenge_method": "S256",
        "scope": "openid offline_access",
        "state": "s1",
    }
    page = client.get("/oauth/authorize", params=query).text
    assert "Continue as a@example.com" in page
    assert "account=acct-B" in page


def test_a_device_code_waits_for_its_approval(client: httpx.Client, sim: Simulator) -> None:
    started = client.post("/api/accounts/deviceauth/usercode", json={"client_id": CLIENT_ID}).json()
    poll = {name: started[name] for name in ("device_auth_id", "user_code")}
    pending = client.post("/api/accounts/deviceauth/token", json=poll)
    client.get("/codex/device", params={"user_code": started["user_code"], "account": "acct-A"})
    granted = client.post("/api/accounts/deviceauth/token", json=poll).json()
    form = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "code": granted["authorization_code"],
        "code_verifier": granted["code_verifier"],
        "redirect_uri": "http://127.0.0.1/deviceauth/callback",
    }
    assert started["interval"] == "1"
    assert pending.status_code == 403
    assert client.post("/oauth/token", data=form).json()["refresh_token"].startswith("rt_acct-A")


def test_a_code_is_taken_as_a_form_only(client: httpx.Client, sim: Simulator) -> None:
    fields = {"grant_type": "authorization_code", "client_id": CLIENT_ID, "code": "ac_1"}
    assert client.post("/oauth/token", json=fields).status_code == 400
    assert len(sim.violations) == 1


def test_a_person_may_say_no(client: httpx.Client) -> None:
    query = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "http://localhost:1455/auth/callback",
        "code_challenge": "c",
        "code_challenge_method": "S256",
        "scope": "openid offline_access",
        "state": "s1",
        "account": "denied",
    }
    location = client.get("/oauth/authorize", params=query).headers["location"]
    assert parse_qs(urlsplit(location).query) == {"error": ["access_denied"], "state": ["s1"]}
    without_state = {name: value for name, value in query.items() if name != "state"}
    assert client.get("/oauth/authorize", params=without_state).status_code == 400
