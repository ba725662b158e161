"""Hands an account's tokens out as auth.json: for a backup, never for use in two places at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC

from django.utils import timezone

from accounts import audit, selectors, tokens
from accounts.auth_file import ParsedAuth
from accounts.claims import read_claims
from accounts.identity import upstream_account_id
from accounts.models import Account
from codexproxy.crypto import EncryptionKeyError

Refresh = Callable[[str], object]


class NothingToExport(Exception):
    pass


class NoIdToken(Exception):
    """Codex CLI cannot use the sign-in; OpenCode can."""

    def __init__(self) -> None:
        super().__init__(
            "This sign-in has no id token, without which Codex CLI takes no file. Export it for OpenCode."
        )


def _refresh(account_id: str) -> object:
    return tokens.refresh_now(account_id=account_id)


def account_export(*, account_id: str, for_codex: bool = False, refresh: Refresh = _refresh) -> ParsedAuth:
    """The tokens, renewed first when they end soon.

    Raises Account.DoesNotExist, NothingToExport and NoIdToken.
    """
    account = Account.objects.get(pk=account_id)
    try:
        credential = selectors.credential_get(account_id)
    except EncryptionKeyError:
        raise NothingToExport(f"{account.display_name}: {selectors.UNREADABLE}") from None
    # A sign-in from OpenCode has no id token, which Codex CLI asks for; a renewal brings one.
    if credential is not None and (
        not credential.id_token or tokens.due_for_refresh([credential], timezone.now())
    ):
        try:
            refresh(account_id)
        except tokens.RefreshRefused as refused:
            raise NothingToExport(f"{account.display_name} has no tokens that work: {refused}") from refused
        except tokens.RefreshFailed:
            # A backup must not depend on the sign-in service: these are the newest tokens there are.
            pass
        credential = selectors.credential_get(account_id)
    if credential is None:
        raise NothingToExport(f"{account.display_name} has no tokens here. Sign it in first.")
    if for_codex and not credential.id_token:
        raise NoIdToken
    audit.record("account_auth_exported", subject=account_id)
    return ParsedAuth(
        access_token=credential.access_token,
        refresh_token=credential.refresh_token,
        id_token=credential.id_token,
        claims=read_claims(credential.id_token).or_else(read_claims(credential.access_token)),
        chatgpt_account_id=upstream_account_id(account) or "",
        access_expires_at=credential.access_expires_at,
        refreshed_at=credential.refreshed_at.astimezone(UTC),
    )
