"""What asks for the operator's attention, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils.html import format_html

from accounts.models import Account
from accounts.sign_in_admin import SIGNED_OUT, sign_in_url
from codexproxy.admin_base import duration_words, moment
from usage.capacity import window_key
from usage.pace import Forecast

# window, its name, and how far ahead its end is worth a word.
_FORECASTS = (
    ("primary", "the 5-hour window", timedelta(hours=5)),
    ("secondary", "the weekly window", timedelta(days=3)),
)


# Readings come every minute; after so long something keeps them from coming.
_STALE = timedelta(minutes=10)


def notices(accounts: list[Account], expected: Mapping[str, Forecast], now: datetime) -> list[dict[str, Any]]:
    """What asks for the operator's attention, most urgent first; one calm line when nothing does."""
    accounts_url = reverse("admin:accounts_account_changelist")
    if not accounts:
        return [
            _notice(
                "No accounts yet. Accounts are the ChatGPT sign-ins that requests are spread over.",
                "warning",
                reverse("admin:accounts_account_add"),
                "Add account",
                is_primary=True,
            )
        ]
    found = []
    lost = [account for account in accounts if account.status in SIGNED_OUT]
    if lost:
        found.append(_sign_in_notice(lost, accounts_url))
    limited = [account for account in accounts if account.is_blocked_by_limit]
    # The next request tries one whose limit is over.
    waiting = [account for account in limited if account.reset_at is None or account.reset_at > now]
    if not any(account.status == Account.Status.ACTIVE for account in accounts):
        found.append(_notice(_nobody_serves(limited, now), "danger", accounts_url, "Show accounts"))
    elif waiting:
        words = "1 account is" if len(waiting) == 1 else f"{len(waiting)} accounts are"
        found.append(_notice(f"{words} at a limit; the others serve.", "warning", accounts_url, "Show"))
    found += [*_forecasts(accounts, expected, now), *_stale(accounts, now)]
    return found or [_notice("All good: every account that is not paused can serve.", "good")]


def _stale(accounts: list[Account], now: datetime) -> list[dict[str, Any]]:
    """What is shown of the windows is not what is, when their usage could not be read for long."""
    readings = [row.recorded_at for account in accounts for row in account.windows.all()]
    if not readings or now - max(readings) < _STALE:
        return []
    words = f"The usage of the accounts was last read {duration_words(now - max(readings))} ago."
    return [_notice(words, "warning", reverse("admin:accounts_jobrun_changelist"), "Background jobs")]


def _sign_in_notice(lost: list[Account], accounts_url: str) -> dict[str, Any]:
    statuses = {account.status for account in lost}
    is_closed = Account.Status.DEACTIVATED in statuses
    if len(lost) == 1:
        words = f"{lost[0].display_name} needs a new sign-in."
        if is_closed:
            words = (
                f"{lost[0].display_name} is deactivated: {lost[0].status_reason or 'upstream refused it.'}"
            )
        return _notice(words, "danger", sign_in_url(lost[0]), "Sign in again")
    both = "need a new sign-in or are deactivated" if len(statuses) > 1 else "are deactivated"
    words = f"{len(lost)} accounts {both if is_closed else 'need a new sign-in'}."
    url = accounts_url if len(statuses) > 1 else f"{accounts_url}?status__exact={lost[0].status}"
    return _notice(words, "danger", url, "Show")


def _nobody_serves(limited: list[Account], now: datetime) -> str:
    if not limited:
        return "No account can serve: all are paused, deactivated or need a sign-in."
    ends = [account.reset_at for account in limited if account.reset_at is not None]
    if not ends:
        return "No account can serve: all are at a limit, and upstream did not say until when."
    first = min(ends)
    if first <= now:
        return "Every account was at a limit; the first one is due again and the next request tries it."
    return format_html(
        "No account can serve before {} (in {}): limits.", moment(first), duration_words(first - now)
    )


def _notice(
    text: str, level: str, url: str = "", action: str = "", *, is_primary: bool = False
) -> dict[str, Any]:
    return {"text": text, "level": level, "url": url, "action": action, "is_primary": is_primary}


def _forecasts(
    accounts: list[Account], expected: Mapping[str, Forecast], now: datetime
) -> list[dict[str, Any]]:
    """When the pool runs dry at the present rate, where that is before long."""
    found = []
    windows = {row.window for account in accounts for row in account.windows.all()}
    for window, name, horizon in _FORECASTS:
        dry = expected.get(window, Forecast()).dry_at
        if dry is not None and dry - now.timestamp() < horizon.total_seconds():
            dry_at = datetime.fromtimestamp(dry, UTC)
            if window_key(window, windows) == "monthly":
                name = "the monthly window"
            words = format_html(
                "At the present rate {} of the pool is used up in {} (about {}).",
                name,
                duration_words(dry_at - now),
                moment(dry_at),
            )
            found.append(_notice(words, "warning"))
    return found
