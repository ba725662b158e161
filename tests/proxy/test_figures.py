"""The pool's windows, as clients are told them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.figures import pool_window, upstream_limits
from proxy.routing import Candidate, Window

NOW = 1_000_000.0


def account(plan: str, used: float, reset_in: float, minutes: int, **fields: Any) -> Candidate:
    window = Window(used, NOW + reset_in, minutes, NOW)
    return Candidate("acc-1", "one", plan, primary=window, secondary=window, **fields)


def test_larger_plans_weigh_more() -> None:
    found = pool_window([account("plus", 100, 60, 300), account("pro", 0, 60, 300)], "primary", NOW)
    assert found is not None and found.used_percent == pytest.approx(13.04, abs=0.01)


def test_the_length_is_that_of_the_most_capacity_whoever_comes_first() -> None:
    pool = [account("free", 10, 900, 43_200), account("plus", 10, 500, 10_080)]
    found = pool_window(pool, "secondary", NOW)
    assert found is not None and (found.window_minutes, found.reset_at) == (10_080, NOW + 500)


def test_an_account_whose_plan_has_no_such_window_says_nothing_of_it() -> None:
    pool = [account("free", 90, 60, 100), account("plus", 40, 500, 300)]
    found = pool_window(pool, "primary", NOW)
    assert found == Window(40.0, NOW + 500, 300, NOW)


def test_without_any_known_capacity_the_accounts_count_alike() -> None:
    pool = [account("something new", 90, 60, 300), account("free", 40, 500, 300)]
    found = pool_window(pool, "primary", NOW)
    assert found == Window(65.0, NOW + 60, 300, NOW)


def test_accounts_that_are_not_in_use_and_windows_that_are_over_are_left_out() -> None:
    pool = [account("plus", 40, 500, 300, status="paused"), account("plus", 40, -1, 300)]
    assert pool_window(pool, "primary", NOW) is None


# --- upstream's own limits, in credits ------------------------------------------------------------

AT = 1_700_000_000.0
WEEK, MONTH = 7 * 24 * 60, 30 * 24 * 60


def seat(
    name: str, five_hours: float | None, week: float | None, *, minutes: int = WEEK, **fields: Any
) -> Candidate:
    windows = {
        "primary": None if five_hours is None else Window(five_hours, AT + 60, 300, AT),
        "secondary": None if week is None else Window(week, AT + 7200, minutes, AT),
    }
    return Candidate(**{"account_id": name, "label": name, "plan_type": "plus", **windows, **fields})


def test_credits_are_summed_over_the_accounts_that_are_known() -> None:
    found = upstream_limits(
        [
            seat("a", 20, 50),
            seat("b", 40, None, plan_type="pro"),
            seat("unknown plan", 90, 90, plan_type="mystery"),
            seat("paused", 90, 90, status="paused"),
        ],
        AT,
    )
    assert found[0] == {
        "limit_type": "credits", "limit_window": "5h", "max_value": 1725, "current_value": 645,
        "remaining_value": 1080, "model_filter": None, "reset_at": "2023-11-14T22:14:20Z",
        "source": "aggregate",
    }  # fmt: skip
    assert [(each["limit_window"], each["max_value"], each["current_value"]) for each in found] == [
        ("5h", 1725, 645),
        ("7d", 7560, 3780),
    ]


def test_a_plan_of_months_has_a_limit_of_its_own() -> None:
    found = upstream_limits([seat("a", None, 10), seat("b", None, 50, plan_type="free", minutes=MONTH)], AT)
    assert [(each["limit_window"], each["max_value"], each["current_value"]) for each in found] == [
        ("7d", 7560, 756),
        ("monthly", 1134, 567),
    ]


def test_a_window_whose_reset_has_passed_is_left_out() -> None:
    assert upstream_limits([seat("a", 20, None, primary=Window(20, AT - 1, 300, AT - 90))], AT) == []
    assert upstream_limits([], AT) == []
