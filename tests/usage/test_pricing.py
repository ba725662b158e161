"""Costs to six decimals, and none where the figures cannot be."""

from __future__ import annotations

import math
import timeit
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requestlogs.records import TokenCounts
from usage.pricing import LONG_CONTEXT_TOKENS, OwnPrice, PriceBook, cost_usd


def cost(
    model: str, input: Any, cached: Any = None, output: Any = 0, tier: str | None = None, **more: Any
) -> str:
    found = cost_usd(model, TokenCounts(input, cached, output, **more), tier)
    return "unknown" if found is None else str(found)


def test_it_works() -> None:
    assert cost("gpt-5.5", 1200, 1000, 50) == "0.003000"


def test_cached_tokens_are_at_most_the_input() -> None:
    assert cost("gpt-5.1", 80, 999, 10) == "0.000110"
    assert cost("gpt-5.1", 80, -5, 10) == cost("gpt-5.1", 80, 0, 10) == "0.000200"


@pytest.mark.parametrize("odd", [-100, True, math.nan, math.inf, "7", 10**30])
def test_counts_that_cannot_be_have_no_cost(odd: Any) -> None:
    assert cost("gpt-5.1", odd, 0, 10) == "unknown"
    assert cost("gpt-5.1", 10, 0, odd) == "unknown"


@pytest.mark.parametrize("odd", [True, math.nan, "7"])
def test_a_cached_count_that_is_no_number_has_no_cost(odd: Any) -> None:
    assert cost("gpt-5.1", 80, odd, 10) == "unknown"


def test_without_an_input_there_is_no_cost() -> None:
    assert cost("gpt-5.1", None, 0, 10) == "unknown"


def test_a_missing_output_is_the_reasoning() -> None:
    assert cost("gpt-5.1", 0, 0, None, reasoning=100) == cost("gpt-5.1", 0, 0, 100) == "0.001000"
    assert cost("gpt-5.1", 0, 0, 100, reasoning=90) == "0.001000"
    assert cost("gpt-5.1", 10, 0, None) == "unknown"


MILLION = 1_000_000


@pytest.mark.parametrize(
    ("model", "same_as"),
    [
        ("GPT-5.5", "gpt-5.5"),
        ("gpt-5.5-2026-04-01", "gpt-5.5"),
        ("gpt-5.4-mini-2026-03-01", "gpt-5.4-mini"),
        ("gpt-5.3-codex-spark", "gpt-5.3-codex"),
        ("gpt-5.1-codex-mini-high", "gpt-5.1-codex-mini"),
        ("gpt-5.6", "gpt-5.6-sol"),
        ("gpt-5.6-nova", "gpt-5.6-sol"),
        ("gpt-5.6-luna-x", "gpt-5.6-luna"),
    ],
)
def test_a_model_is_known_by_the_longest_beginning_of_its_name(model: str, same_as: str) -> None:
    assert cost(model, 12_345, 345, 6789) == cost(same_as, 12_345, 345, 6789) != "unknown"


@pytest.mark.parametrize("model", ["", "o3", "claude", "my-gpt-5.5"])
def test_an_unknown_model_has_no_cost(model: str) -> None:
    assert cost(model, 10, 0, 10) == "unknown"


@pytest.mark.parametrize(
    ("model", "tier", "long", "expected"),
    [
        # 100,000 tokens each of input, cached input and output; then 300,000 of input and of output.
        ("gpt-5.4", None, False, "1.775000"),
        ("gpt-5.4", "priority", False, "3.550000"),
        ("gpt-5.4", "fast", False, "3.550000"),
        ("gpt-5.4", "flex", False, "0.887500"),
        ("gpt-5.4", "auto", False, "1.775000"),
        ("gpt-5.1", "priority", False, "2.275000"),
        ("gpt-5.4-mini", "priority", False, "0.532500"),
        ("gpt-5.1-codex-mini", "flex", False, "0.227500"),
        ("gpt-5.4", None, True, "8.250000"),
        ("gpt-5.4", "priority", True, "10.500000"),
        ("gpt-5.4", "flex", True, "4.125000"),
        ("gpt-5.5", None, True, "10.500000"),
        ("gpt-5.5", "flex", True, "5.250000"),
    ],
)
def test_tiers_and_long_contexts(model: str, tier: str | None, long: bool, expected: str) -> None:
    found = cost(model, 300_000, 0, 300_000, tier) if long else cost(model, 200_000, 100_000, 100_000, tier)
    assert found == expected


def test_a_missing_cached_price_is_the_inputs() -> None:
    assert cost("gpt-5.5-pro", 1000, 1000, 0) == cost("gpt-5.5-pro", 1000, 0, 0) == "0.030000"


def test_a_context_is_long_only_beyond_the_line() -> None:
    assert cost("gpt-5.4", LONG_CONTEXT_TOKENS) == "0.680000"
    assert cost("gpt-5.4", LONG_CONTEXT_TOKENS + 1) == "1.360005"


models = st.sampled_from(["gpt-5.5", "gpt-5.4", "gpt-5.4-pro", "gpt-5.2", "gpt-image-1"])
tiers = st.sampled_from([None, "", "priority", "flex", "fast", "default"])
counts = st.integers(-10, 10**12)


@given(models, tiers, counts, counts, counts)
def test_a_cost_is_never_negative_and_always_fits(
    model: str, tier: str | None, input: int, cached: int, output: int
) -> None:
    found = cost_usd(model, TokenCounts(input, cached, output), tier)
    if min(input, output) < 0 or max(input, output) > 10**11:
        assert found is None
    else:
        assert found is not None
        assert 0 <= found < Decimal(10**8)
        assert found.as_tuple().exponent == -6


def test_it_costs_next_to_nothing_itself() -> None:
    tokens = TokenCounts(1200, 1000, 50)
    runs = 2000
    best = min(timeit.repeat(lambda: cost_usd("gpt-5.5", tokens), number=runs, repeat=5)) / runs
    assert best < 50e-6


def own(
    model: str, tier: str = "standard", input: int = 2, cached: int | None = None, output: int = 4
) -> OwnPrice:
    price = None if cached is None else Decimal(cached)
    return OwnPrice(model, tier, Decimal(input), price, Decimal(output))


def own_cost(
    prices: list[OwnPrice], model: str, tier: str | None = None, input: int = MILLION
) -> Decimal | None:
    return PriceBook(prices).cost_usd(model, TokenCounts(input, 0, 0), tier)


def test_the_operators_price_takes_the_place_of_the_published_one() -> None:
    assert own_cost([own("gpt-5.1", input=7)], "gpt-5.1", input=1000) == Decimal("0.007000")
    assert own_cost([own("gpt-5.1", input=7)], "gpt-5.1-2026-01-01", input=1000) == Decimal("0.007000")


def test_a_model_that_nobody_has_published_can_have_a_price() -> None:
    assert own_cost([own("house-model")], "house-model-2") == 2
    assert own_cost([own("house-model")], "another") is None


def test_one_tiers_price_leaves_the_others_as_they_were() -> None:
    published = PriceBook().cost_usd("gpt-5.5", TokenCounts(1000, 0, 0))
    assert own_cost([own("gpt-5.5", "priority", input=9)], "gpt-5.5", input=1000) == published
    assert own_cost([own("gpt-5.5", "priority", input=9)], "gpt-5.5", "priority", 1000) == Decimal("0.009000")


def test_a_cached_price_that_is_not_set_is_the_input_price() -> None:
    tokens = TokenCounts(MILLION // 10, MILLION // 10, 0)
    assert PriceBook([own("house", input=3)]).cost_usd("house", tokens) == Decimal("0.300000")
    assert PriceBook([own("house", input=3, cached=1)]).cost_usd("house", tokens) == Decimal("0.100000")


def test_a_cost_that_could_not_be_stored_is_none() -> None:
    dear = [own("house", input=999_999)]
    assert own_cost(dear, "house", input=10**11) is None
