"""Reads across accounts."""

from __future__ import annotations

from django.db.models import QuerySet

from accounts.models import Account, Credential
from codexproxy.crypto import EncryptionKeyError

UNREADABLE = "Its stored tokens cannot be read with the present encryption key. Sign it in again."
_TOKENS = ("access_token", "refresh_token", "id_token")


def accounts_for_pool() -> list[Account]:
    """Every account that has a credential, with it, in one query."""
    return with_credentials(Account.objects.filter(credential__isnull=False).order_by("pk"))


def account_get(account_id: str) -> Account:
    """Raises Account.DoesNotExist."""
    return Account.objects.get(pk=account_id)


def accounts_list() -> list[Account]:
    """For people: by e-mail, each with its credential and its windows."""
    return with_credentials(Account.objects.prefetch_related("windows").order_by("email", "pk"))


def with_credentials(accounts: QuerySet[Account]) -> list[Account]:
    """In one query. One whose tokens cannot be read is one that needs a sign-in; the others serve on."""
    try:
        return list(accounts.select_related("credential"))
    except EncryptionKeyError:
        return [_readable(account) for account in accounts]


def _readable(account: Account) -> Account:
    credential = Credential.objects.filter(pk=account.pk)
    try:
        found = credential.first()
    except EncryptionKeyError:
        found = credential.defer(*_TOKENS).get()
        found.access_token = found.refresh_token = found.id_token = ""
        # Not written: with the right key on the ring again, the account serves as before.
        if account.status not in (Account.Status.REAUTH_REQUIRED, Account.Status.DEACTIVATED):
            account.status, account.status_reason = Account.Status.REAUTH_REQUIRED, UNREADABLE
    if found is not None:
        account.credential = found
    return account


def accounts_unreadable() -> list[Account]:
    """Those whose tokens cannot be read."""
    return [account for account in accounts_for_pool() if not account.credential.access_token]


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
    return list(rows.defer(*_TOKENS))
