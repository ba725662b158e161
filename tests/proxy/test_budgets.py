from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy import limits
from proxy.budgets import (
    NOTHING,
    Amounts,
    Claim,
    LimitState,
    OverLimit,
    claimed,
    estimate,
    figure,
    over_limit,
    spent,
)
from requestlogs.records import Record, TokenCounts
from tests.proxy.fakes import NOW


def state(**fields: Any) -> LimitState:
    values = {
        "id": 1, "key_id": 7, "kind": "requests", "window": "daily", "model": "", "max_value": 10,
        "used": 0, "reserved": 0, "reset_at": NOW + 60,
    }  # fmt: skip
    return LimitState(**{**values, **fields})


def claim(model: str = "gpt-5.5", **amounts: int) -> Claim:
    return Claim(7, model, Amounts(**{"requests": 1, **amounts}))


def record(status: str = "success", **tokens: int) -> Record:
    found = Record("rid", datetime.fromtimestamp(NOW, UTC), status=status, model="gpt-5.5")
    found.tokens = TokenCounts(**tokens)
    return found


def test_a_claim_takes_room_until_none_is_left() -> None:
    full = state(max_value=2)
    assert claimed([full], claim()) == {1: 1}
    assert claimed([full], claim()) == {1: 1}
    over = claimed([full], claim())
    assert isinstance(over, OverLimit) and over.is_held
    assert full.reserved == 2


def test_all_limits_or_none() -> None:
    free, full = state(id=1), state(id=2, kind="total_tokens", max_value=5, used=5)
    over = claimed([free, full], claim())
    assert isinstance(over, OverLimit) and (over.kind, over.is_held) == ("total_tokens", False)
    assert free.reserved == 0


def test_the_last_room_is_held_whole_by_one_request() -> None:
    tokens = state(kind="input_tokens", max_value=100, used=90)
    assert claimed([tokens], claim(input_tokens=5_000)) == {1: 10}
    assert isinstance(claimed([tokens], claim(input_tokens=1)), OverLimit)


def test_a_limit_for_a_model_concerns_that_model_only() -> None:
    only = state(model="gpt-5.4", max_value=1, used=1)
    assert claimed([only], claim("gpt-5.5")) == {}
    assert isinstance(claimed([only], claim("gpt-5.4")), OverLimit)
    assert claimed([state(key_id=8, max_value=1, used=1)], claim()) == {}


def test_a_window_that_is_over_begins_anew_in_whole_steps() -> None:
    day = 24 * 3600
    old = state(used=10, reserved=3, reset_at=NOW - day - 5)
    old.roll(NOW)
    assert (old.used, old.reserved, old.reset_at) == (0, 3, NOW - 5 + day)
    exact = state(used=10, reset_at=NOW)
    exact.roll(NOW)
    assert (exact.used, exact.reset_at) == (0, NOW + day)


def test_more_is_never_given_back_than_is_held() -> None:
    held = state(reserved=3)
    held.give_back(5)
    assert held.reserved == 0


def test_an_estimate_grows_with_the_body() -> None:
    assert estimate(4_000, "gpt-5.5", "").input_tokens == 1_001
    assert estimate(10**9, "gpt-5.5", "").input_tokens == limits.RESERVED_INPUT_TOKENS
    small = estimate(10, "gpt-5.5", "")
    assert (small.requests, small.output_tokens) == (1, limits.RESERVED_OUTPUT_TOKENS)
    assert small.cost_usd > 0


def test_a_model_without_a_price_costs_something_all_the_same() -> None:
    assert estimate(10, "unheard-of", "").cost_usd == estimate(10, "gpt-5.5", "").cost_usd > 0


def test_what_upstream_counted_is_spent() -> None:
    found = spent(record(input=1_000, cached_input=0, output=100))
    assert (found.requests, found.input_tokens, found.output_tokens, found.total_tokens) == (
        1, 1_000, 100, 1_100,
    )  # fmt: skip
    assert found.cost_usd > 0
    assert spent(record("error", input=1_000, output=0)).requests == 1


def test_who_got_no_answer_has_spent_nothing() -> None:
    assert spent(record("success")) == Amounts(requests=1)
    assert spent(record("error")) == NOTHING
    assert spent(record("cancelled")) == NOTHING


def over(**fields: Any) -> OverLimit:
    values = {
        "kind": "total_tokens", "window": "daily", "model": "", "used": 12_000, "max_value": 10_000,
        "reset_at": NOW + 600.5, "is_held": False,
    }  # fmt: skip
    return OverLimit(**{**values, **fields})


def test_codex_is_told_in_the_form_that_ends_its_tries() -> None:
    error = over_limit(over(), native=True, now=NOW)
    assert (error.status, error.code, error.type) == (429, "usage_limit_reached", "usage_limit_reached")
    assert error.extra == {"resets_at": int(NOW + 600)}
    assert error.headers == ()


def test_openais_clients_are_told_when_to_come_back() -> None:
    error = over_limit(over(model="gpt-5.4"), native=False, now=NOW)
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert error.headers == ((b"retry-after", b"600"),)
    assert error.message.startswith(
        "API key total_tokens daily limit exceeded for model gpt-5.4: 12,000 of 10,000 used. "
        "Usage resets at 2023-11-14T22:23:20Z"
    )


def test_room_that_others_hold_may_come_free_soon() -> None:
    error = over_limit(over(used=5, is_held=True), native=False, now=NOW)
    assert error.headers == ((b"retry-after", b"%d" % limits.BUSY_RETRY_AFTER_S),)
    assert "held by requests that are running" in error.message


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [("requests", 12_345, "12,345"), ("cost_usd", 5_000_000, "$5.00"), ("cost_usd", 3_000, "$0.0030")],
)
def test_figures_for_people(kind: str, value: int, text: str) -> None:
    assert figure(kind, value) == text
