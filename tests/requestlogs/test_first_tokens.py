"""Quantiles of what is only counted by ranges."""

from __future__ import annotations

import pytest

from requestlogs.first_tokens import RANGES, quantile_s, range_of
from requestlogs.models import UsageHour


def counts(**given: int) -> dict[str, int]:
    return dict.fromkeys(RANGES, 0) | {f"first_tokens_{name}": count for name, count in given.items()}


def test_every_range_has_its_column() -> None:
    assert set(RANGES) <= {field.name for field in UsageHour._meta.get_fields()}


@pytest.mark.parametrize(
    ("first_token_ms", "column"),
    [(0, "250"), (250, "250"), (251, "500"), (32_000, "32000"), (32_001, "beyond"), (10**9, "beyond")],
)
def test_a_bound_belongs_to_the_range_below_it(first_token_ms: int, column: str) -> None:
    assert range_of(first_token_ms) == f"first_tokens_{column}"


def test_without_any_nothing_is_known() -> None:
    assert quantile_s(counts(), 0.5) is None


def test_within_a_range_they_are_spread_evenly() -> None:
    found = counts(**{"500": 10, "1000": 10})
    assert quantile_s(found, 0.25) == 0.375
    assert quantile_s(found, 0.5) == 0.5
    assert quantile_s(found, 0.95) == 0.95


def test_beyond_the_last_bound_it_is_that_bound() -> None:
    assert quantile_s(counts(**{"250": 1, "beyond": 99}), 0.95) == 32.0
