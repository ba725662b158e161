"""What is known of every account, in one query."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from tests.builders import NOW, make_account
from usage.models import CurrentWindow, WindowSample
from usage.pace import Forecast
from usage.selectors import current_windows, forecasts, mean_use, sample_history

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
    history = sample_history("acc-1_a", NOW - timedelta(hours=2), 400)
    assert [(row.account_id, row.used_percent) for row in history] == [
        ("acc-1_a", 2),
        ("acc-1_a", 1),
        ("acc-1_a", 0),
    ]


def test_of_a_long_history_there_are_no_more_readings_than_are_wanted() -> None:
    account = make_account()
    for window, readings in (("primary", 25), ("secondary", 5)):
        for minutes in range(readings):
            WindowSample.objects.create(
                account=account,
                window=window,
                used_percent=minutes,
                recorded_at=NOW - timedelta(minutes=minutes),
            )
    history = sample_history(account.pk, NOW - timedelta(hours=2), 10)
    found = {
        name: [row.used_percent for row in history if row.window == name] for name in ("primary", "secondary")
    }
    assert found == {
        "primary": [24, 21, 18, 15, 12, 9, 6, 3, 0],
        "secondary": [4, 3, 2, 1, 0],
    }


def asked(ask: Callable[[], object], before: str = "") -> list[tuple[Any, ...]]:
    """What the database answers where readings are asked for, with `before` in front of the statement."""
    with CaptureQueriesContext(connection) as queries:
        ask()
    found: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            if "usage_windowsample" in query["sql"]:
                cursor.execute(f"{before} {query['sql']}")
                found += cursor.fetchall()
    return found


@pytest.mark.skipif(connection.vendor != "sqlite", reason="other databases read small tables whole")
@pytest.mark.parametrize(
    "ask",
    [
        lambda: forecasts(Account.objects.prefetch_related("windows"), NOW),
        lambda: mean_use(["acc-1"], "primary", NOW - timedelta(hours=24)),
    ],
)
def test_no_more_readings_are_looked_at_than_are_of_the_time_that_is_asked_for(
    ask: Callable[[], object],
) -> None:
    used(make_account(), 0, 60.0, is_current=True)
    plan = "\n".join(row[-1] for row in asked(ask, "EXPLAIN QUERY PLAN"))
    assert "window_sample_newest (account_id=? AND window=? AND recorded_at" in plan
    assert "SCAN usage_windowsample" not in plan


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


def test_of_a_pool_that_is_read_every_minute_each_tenth_reading_is_enough() -> None:
    account = make_account()
    for minutes_ago in range(240, 0, -1):
        used(account, minutes_ago, 60 - minutes_ago / 4)
    used(account, 0, 60.0, is_current=True)
    assert len(asked(expected)) == 5 + 18
    found = expected()
    assert found is not None and found.dry_at is not None
    assert found.dry_at == pytest.approx((NOW + timedelta(minutes=160)).timestamp(), abs=1)


def current(account: Account, window: str, *percents: float, **fields: Any) -> None:
    """One reading every ten minutes, the last one now."""
    for index, percent in enumerate(reversed(percents)):
        values = {"used_percent": percent, "recorded_at": NOW - timedelta(minutes=10 * index), **fields}
        WindowSample.objects.create(account=account, window=window, **values)
        if not index:
            CurrentWindow.objects.create(account=account, window=window, **values)


def test_a_window_that_has_ended_is_unknown_and_no_capacity_that_is_full() -> None:
    current(make_account("acc-1"), "primary", 40.0, 50.0, 60.0, reset_at=NOW + timedelta(hours=4))
    alone = expected()
    current(make_account("acc-2"), "primary", 90.0, 95.0, reset_at=NOW - timedelta(minutes=1))
    assert alone is not None and expected() == alone


def test_a_pool_whose_only_window_has_ended_has_no_forecast() -> None:
    current(make_account(), "primary", 40.0, 50.0, reset_at=NOW - timedelta(minutes=1))
    assert expected() is None


def test_a_month_stands_in_for_the_week_and_is_looked_as_far_ahead_as_it_is_long() -> None:
    account = make_account(plan_type="free")
    month = {"reset_at": NOW + timedelta(days=29), "window_minutes": 43_200}
    current(account, "monthly", 1.0, 1.05, 1.1, **month)
    found = expected("secondary")
    assert found is not None and found.dry_at is not None
    days = (found.dry_at - NOW.timestamp()) / 86_400
    assert days == pytest.approx(98.9 / 0.05 * 10 / 1440, abs=0.1) and days > 7
