"""What is known of every account, in one query."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from tests.builders import NOW, make_account
from usage.models import CurrentWindow, WindowSample
from usage.selectors import current_windows, sample_history

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
