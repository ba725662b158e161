"""An account in the dashboard's JSON."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from accounts.models import Account
from accounts.summary import account_summary
from tests.builders import NOW, make_account

pytestmark = pytest.mark.django_db


def test_it_works() -> None:
    account = make_account("acc-1_1", alias="Work", email="ann@example.com", access_expires_at=NOW)
    assert account_summary(account, NOW - timedelta(days=1)) == {
        "accountId": "acc-1_1",
        "chatgptAccountId": "acc-1",
        "email": "ann@example.com",
        "alias": "Work",
        "displayName": "Work",
        "workspaceId": None,
        "workspaceLabel": None,
        "planType": "plus",
        "status": "active",
        "routingPolicy": "normal",
        "stopAtPercent": None,
        "deactivationReason": None,
        "lastRefreshAt": "2026-11-19T12:00:00Z",
        "auth": {
            "access": {"expiresAt": "2026-11-20T12:00:00Z", "state": "valid"},
            "refresh": {"expiresAt": None, "state": "stored"},
            "idToken": {"expiresAt": None, "state": "parsed"},
        },
    }


def test_no_token_is_shown() -> None:
    account = make_account()
    shown = json.dumps(account_summary(account, NOW))
    credential = account.credential
    for token in (credential.access_token, credential.refresh_token, credential.id_token):
        assert token not in shown


@pytest.mark.parametrize(
    ("expires_in", "state"), [(None, "unknown"), (timedelta(0), "expired"), (timedelta(1), "valid")]
)
def test_the_access_token_is_valid_until_it_expires(expires_in: timedelta | None, state: str) -> None:
    expires_at = None if expires_in is None else NOW + expires_in
    account = make_account(access_expires_at=expires_at, id_token="")
    auth = account_summary(account, NOW)["auth"]
    assert (auth["access"]["state"], auth["idToken"]["state"]) == (state, "unknown")


@pytest.mark.parametrize(("status", "shown"), [("reauth_required", "why"), ("rate_limited", None)])
def test_the_reason_of_a_limit_is_no_deactivation(status: str, shown: str | None) -> None:
    account = make_account(status=status, status_reason="why")
    assert account_summary(account, NOW)["deactivationReason"] == shown


def test_an_account_without_a_credential_is_shown() -> None:
    account = Account.objects.create(id="bare", email="a@example.com")
    assert account_summary(account, NOW)["auth"]["refresh"]["state"] == "missing"
