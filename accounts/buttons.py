"""Where the buttons of one account lead."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse

from accounts.models import Account
from accounts.sign_in_admin import sign_in_url


def button_context(account: Account) -> dict[str, Any]:
    """For templates that include admin/accounts/account/buttons.html."""

    def url(verb: str) -> str:
        return reverse("admin:accounts_account_do", args=[quote(account.pk), verb])

    is_paused = account.status == Account.Status.PAUSED
    return {
        "account": account,
        "toggle_url": url("resume" if is_paused else "pause"),
        "toggle_words": "Resume" if is_paused else "Pause",
        "refresh_url": url("refresh"),
        "sign_in_url": sign_in_url(account),
        "probe_url": reverse("admin:account_probe", args=[quote(account.pk)]),
        "export_url": reverse("admin:accounts_account_export", args=[quote(account.pk)]),
    }
