"""Asking the sign-in service."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.sign_in_client import Unreachable, as_json, ask
from proxy.simulator import CLIENT_ID, Simulator


def test_an_answer_is_brought_as_it_is(sim: Simulator) -> None:
    status, body = ask("/api/accounts/deviceauth/usercode", as_json({"client_id": CLIENT_ID}))
    assert status == 200
    assert b"user_code" in body
    assert ask("/oauth/token", b"grant_type=authorization_code", True)[0] == 400
    kinds = [call.headers["content-type"] for call in sim.journal]
    assert kinds == ["application/json", "application/x-www-form-urlencoded"]
    assert sim.violations == []


def test_a_service_that_nobody_runs_is_told(settings: Any) -> None:
    settings.AUTH_BASE_URL = "http://127.0.0.1:9"
    with pytest.raises(Unreachable, match="cannot be reached"):
        ask("/oauth/token", b"")
