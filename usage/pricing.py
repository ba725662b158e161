"""Pure: no I/O. What a request would have cost at the API's prices, in US dollars."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

_TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "prices.json").read_text(), parse_float=Decimal)
LONG_CONTEXT_TOKENS: int = _TABLE["long_context_tokens"]
_MODELS: Mapping[str, Mapping[str, Any]] = _TABLE["models"]
_ALIASES: Mapping[str, str] = _TABLE["aliases"]
PUBLISHED_ON: str = _TABLE["date"]
TIERS = ("standard", "priority", "flex", "long")

# More than this cannot be; a cost from it would not fit where costs are stored either.
_MOST_TOKENS = 10**11
_MOST_USD = Decimal(10**8)
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


@dataclass(frozen=True, slots=True)
class OwnPrice:
    """The operator's price of one model in one tier; `cached` None is as `input`."""

    model: str
    tier: str
    input: Decimal
    cached: Decimal | None
    output: Decimal


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One model in the table of prices. `own` are the tiers whose price is the operator's."""

    model: str
    rates: Mapping[str, Rates]
    own: frozenset[str]


class PriceBook:
    """The published prices, with the operator's in their places. Never changed: a new one takes its place."""

    def __init__(self, own: Iterable[OwnPrice] = ()) -> None:
        self._models: dict[str, Mapping[str, Any]] = dict(_MODELS)
        self._own: dict[str, set[str]] = defaultdict(set)
        # Longer names last: what they do not say is as it was for the shorter ones that they begin with.
        for price in sorted(own, key=lambda price: price.model):
            model = price.model.lower()
            base = self._models.get(model) or self._entry(model) or {}
            self._models[model] = {**base, price.tier: [price.input, price.cached, price.output]}
            self._own[model].add(price.tier)
        self._rates_for = lru_cache(maxsize=1024)(self._find)

    def cost_usd(self, model: str, tokens: Tokens, service_tier: str | None = None) -> Decimal | None:
        """To six decimals; None for an unknown model and for counts that cannot be."""
        inputs = _count(tokens.input)
        output = _count(tokens.output if tokens.output is not None else tokens.reasoning)
        cached = _number(0 if tokens.cached_input is None else tokens.cached_input)
        if inputs is None or output is None or cached is None:
            return None
        rates = self._rates_for(model.lower(), (service_tier or "").lower(), inputs > LONG_CONTEXT_TOKENS)
        if rates is None:
            return None
        cached = min(max(cached, 0), inputs)
        total = ((inputs - cached) * rates.input + cached * rates.cached + output * rates.output) / _MILLION
        return total.quantize(_MICRO) if total < _MOST_USD else None

    def rates(self, model: str, service_tier: str | None, input_tokens: int) -> Rates | None:
        """What a request of this size is counted at; None for an unknown model."""
        return self._rates_for(
            model.lower(), (service_tier or "").lower(), input_tokens > LONG_CONTEXT_TOKENS
        )

    def table(self) -> list[PriceRow]:
        """Every model that has a price, by name."""
        return [
            PriceRow(
                model,
                {tier: _rates(entry[tier]) for tier in TIERS if tier in entry},
                frozenset(self._own.get(model, ())),
            )
            for model, entry in sorted(self._models.items())
        ]

    def _find(self, model: str, tier: str, is_long: bool) -> Rates | None:
        """`model` and `tier` in lower case. Over the line the whole request has the long-context price."""
        entry = self._entry(model)
        if entry is None or "standard" not in entry:
            return None
        standard = _rates(entry["standard"])
        # What is faster still has no price of its own; it is no cheaper.
        if tier in ("priority", "fast", "ultrafast"):
            if "priority" in entry:
                return _rates(entry["priority"])
            if "priority_multiplier" in entry:
                factor = Decimal(entry["priority_multiplier"])
                return standard.times(factor, factor)
        if tier == "flex" and "flex" in entry:
            flex = _rates(entry["flex"])
            return flex.times(_TWO, _THREE_HALVES) if is_long and "long" in entry else flex
        return _rates(entry["long"]) if is_long and "long" in entry else standard

    def _entry(self, model: str) -> Mapping[str, Any] | None:
        """The exact name, else the longest known beginning of it."""
        if model in self._models:
            return self._models[model]
        beginnings = [known for known in (*self._models, *_ALIASES) if model.startswith(known)]
        longest = max(beginnings, key=len, default=None)
        if longest is None:
            return None
        return self._models[longest] if longest in self._models else self._models[_ALIASES[longest]]


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


PUBLISHED = PriceBook()


def cost_usd(model: str, tokens: Tokens, service_tier: str | None = None) -> Decimal | None:
    """At the published prices."""
    return PUBLISHED.cost_usd(model, tokens, service_tier)
