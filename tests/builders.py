"""Plain builders of what the tests need: tokens, auth.json files, accounts."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet
from django.db import connection

from accounts.claims import AUTH_CLAIM
from accounts.models import Account, Credential

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def make_jwt(claims: dict[str, Any] | None = None) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims or {})}.c2ln"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a sign-in is, as its claims tell."""

    email: str | None = "ann@example.com"
    account_id: str | None = "acc-1"
    plan: str | None = "plus"
    user_id: str | None = None
    workspace_id: str | None = None

    def claims(self) -> dict[str, Any]:
        told = {
            "chatgpt_account_id": self.account_id,
            "chatgpt_plan_type": self.plan,
            "chatgpt_user_id": self.user_id,
            "workspace_id": self.workspace_id,
        }
        return {"email": self.email, AUTH_CLAIM: {name: value for name, value in told.items() if value}}


def make_auth_json(
    *,
    expires_at: datetime | None = None,
    last_refresh: str | None = "2026-11-19T10:00:00.123456789Z",
    tokens: dict[str, Any] | None = None,
    **identity: str | None,
) -> dict[str, Any]:
    """As Codex CLI writes it; `tokens` replaces single tokens, `identity` are the fields of Identity."""
    who = Identity(**identity)
    ends = (expires_at or NOW + timedelta(days=10)).timestamp()
    own = {
        "id_token": make_jwt(who.claims() | {"exp": ends}),
        "access_token": make_jwt({"exp": ends, "nonce": f"access of {who.email}"}),
        "refresh_token": f"rt-{who.email}",
        "account_id": who.account_id,
    }
    return {"OPENAI_API_KEY": None, "tokens": own | (tokens or {}), "last_refresh": last_refresh}


def make_unreadable(account: Account) -> None:
    """Its tokens as though written under another key."""
    token = Fernet(Fernet.generate_key()).encrypt(b"a token").decode()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_credential SET access_token = %s, refresh_token = %s WHERE account_id = %s",
            [token, token, account.pk],
        )


def make_account(account_id: str = "acc-1_00000001", **fields: Any) -> Account:
    """An account with its credential; a field's name tells which of the two it belongs to."""
    names = {field.name for field in Credential._meta.get_fields()} - {"account"}
    given = {name: fields.pop(name) for name in list(fields) if name in names}
    account = Account.objects.create(
        **{
            "id": account_id,
            "chatgpt_account_id": account_id.rpartition("_")[0] or account_id,
            "email": f"{account_id}@example.com",
            "plan_type": "plus",
        }
        | fields
    )
    Credential.objects.create(
        **{
            "account": account,
            "access_token": f"access-1-of-{account_id}",
            "refresh_token": f"refresh-1-of-{account_id}",
            "id_token": make_jwt({"email": account.email}),
            "access_expires_at": NOW + timedelta(days=10),
            "refreshed_at": NOW - timedelta(days=1),
        }
        | given
    )
    return account
