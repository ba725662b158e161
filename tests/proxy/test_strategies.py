from __future__ import annotations

import random
from collections import Counter

from proxy.routing import Candidate, Window
from proxy.strategies import capacity_weighted, earliest_reset, first_in_turn, round_robin, usage_weighted

NOW = 1_700_000_000.0


def account(name: str, used: float, credits: float = 7560.0, last: float = 0.0) -> Candidate:
    weekly = Window(used, NOW + 86_400, 10_080, NOW)
    return Candidate(name, name, secondary=weekly, weekly_credits=credits, last_selected_at=last)


def test_usage_weighted_takes_the_least_used() -> None:
    assert usage_weighted([account("a", 30), account("b", 20)], NOW, random.Random()).account_id == "b"


def test_usage_weighted_lets_ties_rest() -> None:
    assert (
        usage_weighted([account("a", 20, last=5), account("b", 20, last=4)], NOW, random.Random()).account_id
        == "b"
    )


def test_round_robin_takes_the_longest_unused() -> None:
    assert (
        round_robin([account("a", 0, last=5), account("b", 90, last=4)], NOW, random.Random()).account_id
        == "b"
    )


def test_capacity_weighted_spreads_in_proportion_to_what_is_left() -> None:
    pool = [account("plus", 0, 7560), account("pro", 0, 50_400)]
    rng = random.Random(7)
    counts = Counter(capacity_weighted(pool, NOW, rng).account_id for _ in range(2000))
    assert 5.0 < counts["pro"] / counts["plus"] < 9.0


def test_capacity_weighted_without_capacity_falls_back_to_usage() -> None:
    pool = [account("a", 30, 0), account("b", 20, 0)]
    assert capacity_weighted(pool, NOW, random.Random()).account_id == "b"


def test_earliest_reset_keeps_those_of_the_same_day() -> None:
    late = account("late", 0)
    late.secondary = Window(0, NOW + 6 * 86_400, 10_080, NOW)
    unknown = Candidate("unknown", "unknown")
    soon = account("soon", 0)
    assert earliest_reset([late, unknown, soon], NOW) == [soon]


def test_those_to_burn_come_before_the_others() -> None:
    burn, normal = Candidate("a", "a", policy="burn_first"), Candidate("b", "b")
    assert first_in_turn([normal, burn]) == [burn]
    assert first_in_turn([normal]) == [normal]
