"""What is known of every account, in one query."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from tests.builders import NOW, make_account
from usage.models import CurrentWindow, WindowSample
from usage.pace import Forecast
from usage.selectors import current_windows, forecasts, sample_history

pytestmark = pytest.mark.django_db


def test_the_newest_windows_of_all_accounts_take_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for name in ("acc-1_a", "acc-2_b"):
        account = make_account(name)
        for window in ("primary", "secondary"):
            CurrentWindow.objects.create(account=account, window=window, used_percent=5, recorded_at=NOW)
    with django_assert_num_queries(1):
        found = current_windows()
    assert {name: set(windows) for name, windows in found.items()} == {
        "acc-1_a": {"primary", "secondary"},
        "acc-2_b": {"primary", "secondary"},
    }
    assert found["acc-1_a"]["primary"].used_percent == 5


def test_a_history_is_of_one_account_and_begins_where_it_is_asked_to() -> None:
    for name in ("acc-1_a", "acc-2_b"):
        account = make_account(name)
        for hours in (2, 1, 0, 3):
            WindowSample.objects.create(
                account=account,
                window="primary",
                used_percent=hours,
                recorded_at=NOW - timedelta(hours=hours),
            )
    history = sample_history("acc-1_a", NOW - timedelta(hours=2))
    assert [(row.account_id, row.used_percent) for row in history] == [
        ("acc-1_a", 2),
        ("acc-1_a", 1),
        ("acc-1_a", 0),
    ]


def expected(window: str = "primary") -> Forecast | None:
    return forecasts(Account.objects.prefetch_related("windows"), NOW).get(window)


def used(account: Account, minutes_ago: int, percent: float, *, is_current: bool = False) -> None:
    at = NOW - timedelta(minutes=minutes_ago)
    values = {"used_percent": percent, "recorded_at": at, "reset_at": NOW + timedelta(hours=4)}
    WindowSample.objects.create(account=account, window="primary", **values)
    if is_current:
        CurrentWindow.objects.create(account=account, window="primary", **values)


def test_the_pool_s_end_is_told_from_its_present_rate(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    account = make_account()
    used(account, 20, 40.0)
    used(account, 10, 50.0)
    used(account, 0, 60.0, is_current=True)
    # The accounts, their windows, and the readings.
    with django_assert_num_queries(3):
        found = expected()
    assert found is not None and found.dry_at is not None
    assert found.dry_at == pytest.approx((NOW + timedelta(minutes=40)).timestamp(), abs=1)


def test_nothing_is_told_of_a_pool_that_was_read_once() -> None:
    used(make_account(), 0, 60.0, is_current=True)
    assert expected() is None


def test_paused_accounts_have_no_part_in_the_forecast() -> None:
    account = make_account(status=Account.Status.PAUSED)
    used(account, 10, 50.0)
    used(account, 0, 60.0, is_current=True)
    assert expected() is None
