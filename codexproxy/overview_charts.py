"""The charts of the overview: requests by outcome, tokens, cost, and the time to the first token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from codexproxy.admin_base import compact
from codexproxy.charts import Chart, Series, overlaid, stacked
from requestlogs.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Split:
    """What the cost is told apart by; `field` is that of the sums."""

    key: str
    words: str
    field: str
    # What requests are called that have none.
    without: str


SPLITS: Mapping[str, Split] = {
    split.key: split
    for split in (
        Split("account", "by account", "account_id", "No account"),
        Split("model", "by model", "model", "No model"),
        Split("key", "by API key", "api_key_id", "No key"),
    )
}
DEFAULT_SPLIT = SPLITS["account"]
# More cannot be told apart in a column; what is left is one more.
_MOST_PARTS = 4
_MARKS = ("first", "second", "third", "fourth")


def charts(lines: Timeline, costs: Sequence[tuple[str, Sequence[Decimal]]]) -> list[Chart]:
    """`costs`: (name, cost of each part), as many as there are."""
    moments = [begin for begin, _ in lines.parts]
    return [
        _requests(lines, moments),
        _tokens(lines, moments),
        _cost(lines, moments, costs),
        _first_token(lines, moments),
    ]


def _requests(lines: Timeline, moments: list[datetime]) -> Chart:
    total, parts = lines.total, [found for _, found in lines.parts]
    noun = "request" if total.requests == 1 else "requests"
    return stacked(
        "Requests",
        f"{compact(total.requests)} {noun}, {compact(total.errors)} failed.",
        moments,
        [
            Series("Answered", "good", [p.requests - p.errors - p.cancelled for p in parts]),
            Series("Cancelled", "fair", [p.cancelled for p in parts]),
            Series("Failed", "bad", [p.errors for p in parts]),
        ],
        compact,
    )


def _tokens(lines: Timeline, moments: list[datetime]) -> Chart:
    total, parts = lines.total, [found for _, found in lines.parts]
    return stacked(
        "Tokens",
        f"{compact(total.tokens)} tokens, {compact(total.cached_input_tokens)} of them from the cache.",
        moments,
        [
            Series("Input from the cache", "quiet", [p.cached_input_tokens for p in parts]),
            Series("Other input", "first", [p.input_tokens - p.cached_input_tokens for p in parts]),
            Series("Output", "second", [p.output_tokens for p in parts]),
        ],
        compact,
    )


def _cost(lines: Timeline, moments: list[datetime], costs: Sequence[tuple[str, Sequence[Decimal]]]) -> Chart:
    ranked = sorted(costs, key=lambda pair: (-sum(pair[1]), pair[0]))
    series = [
        Series(name, mark, [float(cost) for cost in found])
        for (name, found), mark in zip(ranked, _MARKS, strict=False)
    ]
    if rest := [found for _, found in ranked[_MOST_PARTS:]]:
        series.append(Series("Others", "quiet", [float(sum(part)) for part in zip(*rest, strict=True)]))
    most = f", most of it {ranked[0][0]}" if len(ranked) > 1 else ""
    return stacked(
        "Cost at API prices",
        f"${lines.total.cost_usd:,.2f} in all{most}.",
        moments,
        series or [Series("Cost", "first", [0.0] * len(moments))],
        lambda value: f"${value:,.2f}",
    )


def _first_token(lines: Timeline, moments: list[datetime]) -> Chart:
    half, most = lines.total.first_token_s(0.5), lines.total.first_token_s(0.95)
    summary = "No answer has begun."
    if half is not None and most is not None:
        summary = f"Half of the answers began within {half:.1f} s, 95 % within {most:.1f} s, about."
    halves = [found.first_token_s(0.5) or 0.0 for _, found in lines.parts]
    mosts = [found.first_token_s(0.95) or 0.0 for _, found in lines.parts]
    return overlaid(
        "Time to the first token",
        summary,
        moments,
        [Series("Half of them within", "second", halves), Series("95 % within", "quiet", mosts)],
        lambda value: f"{value:.1f} s",
    )
