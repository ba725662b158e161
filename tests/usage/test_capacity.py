"""Credits of plans, and of a pool."""

from __future__ import annotations

import pytest

from usage.capacity import PoolCapacity, capacity_credits, pool_capacity, weekly_credits


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


def test_accounts_without_a_reading_add_nothing() -> None:
    pool = pool_capacity("primary", [("plus", 40.0), ("plus", None), ("pro", None)])
    assert (pool.capacity_credits, pool.remaining_credits, pool.remaining_percent) == (225, 135, 60.0)


def test_a_pool_without_readings_has_nothing() -> None:
    pool = pool_capacity("secondary", [("plus", None), ("pro", None)])
    assert pool == PoolCapacity()
    assert (pool.capacity_credits, pool.remaining_credits, pool.remaining_percent) == (0, 0, 0.0)


def test_accounts_without_a_capacity_add_nothing() -> None:
    pool = pool_capacity("primary", [("free", 90.0), ("something new", 90.0), ("plus", 0.0)])
    assert (pool.capacity_credits, pool.used_credits) == (225, 0)


def test_larger_plans_weigh_more() -> None:
    assert pool_capacity("primary", [("plus", 100.0), ("pro", 0.0)]).remaining_percent == pytest.approx(
        86.956, 1e-3
    )


def test_nobody_uses_more_than_all_or_less_than_nothing() -> None:
    assert pool_capacity("primary", [("plus", 250.0)]).remaining_credits == 0
    assert pool_capacity("primary", [("plus", -5.0)]).used_credits == 0
