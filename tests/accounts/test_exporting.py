from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.auth_file import codex_file, opencode_file, parse
from accounts.exporting import NoIdToken, NothingToExport, account_export
from accounts.models import Account, AuditEvent, Credential
from accounts.tokens import RefreshFailed, RefreshRefused
from tests.builders import make_account, make_unreadable

pytestmark = pytest.mark.django_db


def account_with(**fields: object) -> Account:
    values = {"access_expires_at": timezone.now() + timedelta(days=5), "refreshed_at": timezone.now()}
    return make_account(**{**values, **fields})


def never(account_id: str) -> None:
    raise AssertionError("there was no need to refresh")


def test_what_is_exported_can_be_imported_again() -> None:
    auth = account_export(account_id=account_with().pk, refresh=never)
    codex, opencode = parse(json.dumps(codex_file(auth))), parse(json.dumps(opencode_file(auth)))
    assert codex.refresh_token == opencode.refresh_token == "refresh-1-of-acc-1_00000001"
    assert codex.chatgpt_account_id == opencode.chatgpt_account_id == "acc-1"
    assert codex.refreshed_at == auth.refreshed_at
    assert opencode.access_expires_at is not None


def test_an_export_is_on_the_audit_log_without_any_token() -> None:
    account = account_with()
    account_export(account_id=account.pk, refresh=never)
    event = AuditEvent.objects.get()
    assert (event.action, event.subject, event.detail) == ("account_auth_exported", account.pk, "")


@pytest.mark.parametrize("fields", [{"access_expires_at": timezone.now()}, {"id_token": ""}])
def test_tokens_that_end_soon_or_are_not_whole_are_renewed_first(fields: dict[str, object]) -> None:
    account = account_with(**fields)

    def refresh(account_id: str) -> None:
        Credential.objects.filter(pk=account_id).update(refresh_token="refresh-2")

    assert account_export(account_id=account.pk, refresh=refresh).refresh_token == "refresh-2"


def test_without_the_sign_in_service_the_newest_tokens_are_exported() -> None:
    def refresh(account_id: str) -> None:
        raise RefreshFailed("not now")

    auth = account_export(account_id=account_with(access_expires_at=timezone.now()).pk, refresh=refresh)
    assert auth.refresh_token == "refresh-1-of-acc-1_00000001"


def test_tokens_that_are_refused_for_good_are_not_exported() -> None:
    def refresh(account_id: str) -> None:
        raise RefreshRefused("invalid_grant", "The sign-in was revoked.")

    account = account_with(access_expires_at=timezone.now())
    with pytest.raises(NothingToExport, match="The sign-in was revoked"):
        account_export(account_id=account.pk, refresh=refresh)
    assert not AuditEvent.objects.exists()


def without_renewal(account_id: str) -> None:
    raise RefreshFailed("not now")


def test_without_an_id_token_there_is_no_file_for_codex_and_none_is_on_the_audit_log() -> None:
    account = account_with(id_token="")
    with pytest.raises(NoIdToken, match="Export it for OpenCode"):
        account_export(account_id=account.pk, for_codex=True, refresh=without_renewal)
    assert not AuditEvent.objects.exists()


def test_what_is_exported_without_an_id_token_can_be_imported_again() -> None:
    auth = account_export(account_id=account_with(id_token="").pk, refresh=without_renewal)
    again = parse(json.dumps(opencode_file(auth)))
    assert (again.refresh_token, again.id_token) == ("refresh-1-of-acc-1_00000001", "")


def test_an_account_without_tokens_says_so() -> None:
    account = account_with()
    Credential.objects.all().delete()
    with pytest.raises(NothingToExport, match="Sign it in first"):
        account_export(account_id=account.pk, refresh=never)


def test_tokens_that_cannot_be_read_are_not_exported() -> None:
    account = account_with()
    make_unreadable(account)
    with pytest.raises(NothingToExport, match="cannot be read with the present encryption key"):
        account_export(account_id=account.pk, refresh=never)
