"""An account as the dashboard's JSON shows it, without its usage, which is another app's to add."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload

from accounts.api_shapes import AccountSummary, Token, Tokens
from accounts.claims import Claims, read_claims
from accounts.models import Account, Credential

_WITH_REASON = (Account.Status.REAUTH_REQUIRED, Account.Status.DEACTIVATED)


def account_summary(account: Account, now: datetime) -> AccountSummary:
    """An account whose credential is missing is shown as such; a token itself is never part of it."""
    credential: Credential | None = getattr(account, "credential", None)
    return {
        "accountId": account.pk,
        "chatgptAccountId": account.chatgpt_account_id or None,
        "email": account.email,
        "alias": account.alias or None,
        "displayName": account.display_name,
        "workspaceId": account.workspace_id or None,
        "workspaceLabel": account.workspace_label or None,
        "planType": account.plan_type,
        "status": account.status,
        "routingPolicy": account.routing_policy,
        "stopAtPercent": account.stop_at_percent,
        "deactivationReason": (account.status_reason or None) if account.status in _WITH_REASON else None,
        "lastRefreshAt": iso(credential.refreshed_at) if credential else None,
        "auth": _auth(credential, now),
    }


@overload
def iso(moment: datetime) -> str: ...
@overload
def iso(moment: datetime | None) -> str | None: ...
def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, with a Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def _auth(credential: Credential | None, now: datetime) -> Tokens:
    if credential is None:
        missing: Token = {"expiresAt": None, "state": "missing"}
        return {"access": missing, "refresh": missing, "idToken": {"expiresAt": None, "state": "unknown"}}
    expires_at = credential.access_expires_at
    state = "unknown" if expires_at is None else "valid" if expires_at > now else "expired"
    id_claims = read_claims(credential.id_token)
    return {
        "access": {"expiresAt": iso(expires_at), "state": state},
        "refresh": {"expiresAt": None, "state": "stored" if credential.refresh_token else "missing"},
        "idToken": {
            "expiresAt": iso(id_claims.expires_at),
            "state": "unknown" if id_claims == Claims() else "parsed",
        },
    }
