from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils.html import strip_tags

from accounts.models import Account
from codexproxy.attention import notices
from tests.builders import NOW, make_account
from usage.models import CurrentWindow, WindowSample
from usage.selectors import forecasts

pytestmark = pytest.mark.django_db


def told(now: datetime = NOW) -> list[str]:
    accounts = list(Account.objects.prefetch_related("windows"))
    return [strip_tags(notice["text"]) for notice in notices(accounts, forecasts(accounts, now), now)]


def used(account: Account, *percents: float, window: str = "primary", **fields: Any) -> None:
    """One reading every ten minutes, the last one now."""
    for index, percent in enumerate(reversed(percents)):
        at = NOW - timedelta(minutes=10 * index)
        values = {"used_percent": percent, "recorded_at": at, **fields}
        WindowSample.objects.create(account=account, window=window, **values)
        if not index:
            CurrentWindow.objects.create(account=account, window=window, **values)


def test_a_pool_that_runs_dry_soon_says_when() -> None:
    used(make_account(), 40.0, 50.0, 60.0, reset_at=NOW + timedelta(hours=4))
    dry_at = NOW + timedelta(minutes=40)
    (text,) = told()
    assert "the 5-hour window of the pool is used up in 40 min" in text
    assert f"about {dry_at:%Y-%m-%d %H:%M} UTC" in text


def test_a_pool_of_months_that_runs_dry_in_days_says_when() -> None:
    account = make_account(plan_type="free")
    month = {"reset_at": NOW + timedelta(days=20), "window_minutes": 43_200}
    used(account, 79.0, 79.1, 79.2, window="monthly", **month)
    (text,) = told()
    assert "the monthly window of the pool is used up in 1 d" in text


def test_a_reset_that_comes_first_leaves_nothing_to_say() -> None:
    used(make_account(), 10.0, 10.5, 11.0, reset_at=NOW + timedelta(minutes=5))
    assert told() == ["All good: every account that is not paused can serve."]


def test_a_pool_that_rests_leaves_nothing_to_say() -> None:
    used(make_account(), 60.0, 60.0, reset_at=NOW + timedelta(hours=4))
    assert told() == ["All good: every account that is not paused can serve."]


def test_usage_that_was_not_read_for_long_is_told() -> None:
    used(make_account(), 60.0, 60.0, reset_at=NOW + timedelta(hours=4))
    assert told(NOW + timedelta(minutes=14)) == ["The usage of the accounts was last read 14 min ago."]


def test_a_deactivated_account_is_not_all_good() -> None:
    make_account("a")
    lost = make_account("b", status="deactivated", status_reason="Account has been suspended")
    assert told() == [f"{lost.display_name} is deactivated: Account has been suspended"]


def test_accounts_that_are_lost_are_told_together() -> None:
    make_account("a")
    make_account("b", status="deactivated")
    make_account("c", status="reauth_required")
    assert told() == ["2 accounts need a new sign-in or are deactivated."]


def test_a_limit_that_is_over_is_none() -> None:
    make_account("a")
    past = NOW - timedelta(minutes=1)
    blocked = make_account("b", status="rate_limited", reset_at=past, blocked_at=past)
    assert told() == ["All good: every account that is not paused can serve."]
    blocked.reset_at = NOW + timedelta(minutes=1)
    blocked.save()
    assert told() == ["1 account is at a limit; the others serve."]
