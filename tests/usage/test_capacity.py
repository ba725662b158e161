"""Credits of plans, and of a pool."""

from __future__ import annotations

import pytest

from usage.capacity import (
    Part,
    PoolCapacity,
    Pooled,
    capacity_credits,
    pooled,
    weekly_credits,
    window_key,
)


@pytest.mark.parametrize(
    ("plan", "primary", "secondary", "monthly"),
    [
        ("free", 0, 1134, 1134),
        ("plus", 225, 7560, None),
        ("Team", 225, 7560, None),
        ("education", 225, 7560, None),
        ("pro", 1500, 50_400, None),
        ("prolite", 1125, 37_800, None),
        ("enterprise", 1500, 50_400, None),
        ("go", 0, 1134, 1134),
        ("unknown", 0, 1134, 1134),
        ("something new", None, None, None),
    ],
)
def test_what_a_plan_has(plan: str, primary: float, secondary: float, monthly: float | None) -> None:
    found = tuple(capacity_credits(plan, window) for window in ("primary", "secondary", "monthly"))
    assert found == (primary, secondary, monthly)
    assert weekly_credits(plan) == (secondary or 0.0)


def of(plan: str, used_percent: float) -> Part:
    return Part(capacity_credits(plan, "primary") or 0.0, used_percent)


def capacity(*parts: Part) -> PoolCapacity:
    return pooled(parts).capacity


def test_what_is_used_is_a_share_of_what_the_plan_has() -> None:
    pool = capacity(of("plus", 40.0))
    assert (pool.capacity_credits, pool.remaining_credits, pool.remaining_percent) == (225, 135, 60.0)
    assert pool.used_percent == 40.0


def test_a_pool_without_readings_has_nothing() -> None:
    assert pooled([]) == Pooled(PoolCapacity(), None, None)
    pool = capacity()
    assert (pool.remaining_credits, pool.remaining_percent, pool.used_percent) == (0, 0.0, 0.0)


def test_accounts_without_a_capacity_add_nothing() -> None:
    pool = capacity(of("free", 90.0), of("something new", 90.0), of("plus", 0.0))
    assert (pool.capacity_credits, pool.used_credits) == (225, 0)


def test_larger_plans_weigh_more() -> None:
    assert capacity(of("plus", 100.0), of("pro", 0.0)).remaining_percent == pytest.approx(86.956, 1e-3)


def test_nobody_uses_more_than_all_or_less_than_nothing() -> None:
    assert capacity(of("plus", 250.0)).remaining_credits == 0
    assert capacity(of("plus", -5.0)).used_credits == 0


def test_a_pool_s_reset_is_the_earliest_and_its_length_that_of_the_most_capacity() -> None:
    pool = pooled([Part(100, 0, 900, 43_200), Part(60, 0, 500, 10_080), Part(60, 0, 700, 10_080)])
    assert (pool.reset_at, pool.minutes) == (500, 10_080)


def test_accounts_without_a_capacity_say_neither_reset_nor_length() -> None:
    pool = pooled([Part(0, 50, 100, 300), Part(225, 50, 900, 240)])
    assert (pool.reset_at, pool.minutes) == (900, 240)


def test_the_month_stands_in_for_the_week_where_a_plan_has_only_that() -> None:
    assert window_key("secondary", {"monthly"}) == "monthly"
    assert window_key("secondary", {"monthly", "secondary"}) == "secondary"
    assert window_key("secondary", {"primary"}) == "secondary"
    assert window_key("primary", {"monthly"}) == "primary"
