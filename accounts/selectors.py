"""Reads across accounts."""

from __future__ import annotations

from accounts.models import Account, Credential


def accounts_for_pool() -> list[Account]:
    """Every account that has a credential, with it, in one query."""
    return list(Account.objects.select_related("credential").filter(credential__isnull=False).order_by("pk"))


def account_get(account_id: str) -> Account:
    """Raises Account.DoesNotExist."""
    return Account.objects.get(pk=account_id)


def accounts_list() -> list[Account]:
    """For people: by e-mail, each with its credential and its windows."""
    accounts = Account.objects.select_related("credential").prefetch_related("windows")
    return list(accounts.order_by("email", "pk"))


def credential_get(account_id: str) -> Credential | None:
    return Credential.objects.filter(pk=account_id).first()


def credentials_in_use() -> list[Credential]:
    """Of all accounts that are worth keeping signed in; without their tokens, which are read when needed."""
    statuses = (
        Account.Status.ACTIVE,
        Account.Status.RATE_LIMITED,
        Account.Status.QUOTA_EXCEEDED,
        Account.Status.PAUSED,
    )
    rows = Credential.objects.filter(account__status__in=statuses).order_by("pk")
    return list(rows.defer("access_token", "refresh_token", "id_token"))
