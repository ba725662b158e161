"""Pure: no I/O. What a request would have cost at the API's prices, in US dollars."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

_TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "prices.json").read_text(), parse_float=Decimal)
LONG_CONTEXT_TOKENS: int = _TABLE["long_context_tokens"]
_MODELS: Mapping[str, Mapping[str, Any]] = _TABLE["models"]
_ALIASES: Mapping[str, str] = _TABLE["aliases"]

# More than this cannot be; a cost from it would not fit where costs are stored either.
_MOST_TOKENS = 10**11
_MILLION = Decimal(1_000_000)
_MICRO = Decimal("0.000001")
_TWO, _THREE_HALVES = Decimal(2), Decimal("1.5")


class Tokens(Protocol):
    """Reasoning tokens are part of the output tokens."""

    input: int | None
    cached_input: int | None
    output: int | None
    reasoning: int | None


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars for a million tokens."""

    input: Decimal
    cached: Decimal
    output: Decimal

    def times(self, inputs: Decimal, output: Decimal) -> Rates:
        return Rates(self.input * inputs, self.cached * inputs, self.output * output)


def cost_usd(model: str, tokens: Tokens, service_tier: str | None = None) -> Decimal | None:
    """To six decimals; None for an unknown model and for counts that cannot be."""
    inputs = _count(tokens.input)
    output = _count(tokens.output if tokens.output is not None else tokens.reasoning)
    cached = _number(0 if tokens.cached_input is None else tokens.cached_input)
    if inputs is None or output is None or cached is None:
        return None
    rates = rates_for(model.lower(), (service_tier or "").lower(), inputs > LONG_CONTEXT_TOKENS)
    if rates is None:
        return None
    cached = min(max(cached, 0), inputs)
    total = (inputs - cached) * rates.input + cached * rates.cached + output * rates.output
    return (total / _MILLION).quantize(_MICRO)


@lru_cache(maxsize=1024)
def rates_for(model: str, tier: str, is_long: bool) -> Rates | None:
    """`model` and `tier` in lower case. Over the line the whole request has the long-context price."""
    entry = _entry(model)
    if entry is None:
        return None
    standard = _rates(entry["standard"])
    if tier in ("priority", "fast"):
        if "priority" in entry:
            return _rates(entry["priority"])
        if "priority_multiplier" in entry:
            factor = Decimal(entry["priority_multiplier"])
            return standard.times(factor, factor)
    if tier == "flex" and "flex" in entry:
        flex = _rates(entry["flex"])
        return flex.times(_TWO, _THREE_HALVES) if is_long and "long" in entry else flex
    return _rates(entry["long"]) if is_long and "long" in entry else standard


def _entry(model: str) -> Mapping[str, Any] | None:
    """The exact name, else the longest known beginning of it."""
    name = _ALIASES.get(model, model)
    if name in _MODELS:
        return _MODELS[name]
    beginnings = [known for known in (*_MODELS, *_ALIASES) if model.startswith(known)]
    longest = max(beginnings, key=len, default=None)
    return None if longest is None else _MODELS[_ALIASES.get(longest, longest)]


def _rates(prices: list[Any]) -> Rates:
    inputs, cached, output = prices
    return Rates(Decimal(inputs), Decimal(inputs if cached is None else cached), Decimal(output))


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None or not 0 <= number <= _MOST_TOKENS else number


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value)
