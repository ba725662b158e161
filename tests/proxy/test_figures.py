"""The pool's windows, as clients are told them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.figures import pool_window
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
