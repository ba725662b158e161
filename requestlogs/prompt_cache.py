"""Pure: how much of a conversation came from the prompt cache, and what a change of account has cost it.

The cache belongs to an account. A request on another one sends again what the former account had cached:
of the tokens that both requests have in common, those that did not come from the cache are lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from requestlogs.records import TokenCounts
from usage.pricing import PriceBook


@dataclass(frozen=True, slots=True)
class Turn:
    """A request that was answered. Tokens as upstream counted them."""

    at: datetime
    account_id: str
    model: str
    input_tokens: int
    cached_tokens: int
    service_tier: str = ""
    # As records keep them.
    attempts: tuple[Mapping[str, Any], ...] = ()
    routing: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """A conversation went on with another account."""

    turn: Turn
    from_account: str
    cause: str
    lost_tokens: int


def switches(turns: Iterable[Turn]) -> list[Switch]:
    """Each change of account of one conversation; its turns oldest first."""
    return [
        Switch(turn, before.account_id, cause_of(turn, before.account_id), lost_tokens(before, turn))
        for before, turn in pairwise(turns)
        if turn.account_id != before.account_id
    ]


def lost_tokens(before: Turn, turn: Turn) -> int:
    """A conversation grows, and a compacted one shrinks: no more than the smaller of both was in common."""
    in_common = min(before.input_tokens, turn.input_tokens)
    return max(0, in_common - turn.cached_tokens)


def cause_of(turn: Turn, left: str) -> str:
    """Why the account that was left did not serve, in the words of the choice or of its own refusal."""
    for attempt in turn.attempts:
        if attempt.get("account_id") == left and attempt.get("outcome"):
            return str(attempt["outcome"])
    for passed_over in (turn.routing or {}).get("passed_over") or ():
        if isinstance(passed_over, Mapping) and passed_over.get("account_id") == left:
            return str(passed_over.get("reason") or "passed over")
    return "the conversation was not kept on its account"


def hit_rate(turns: Iterable[Turn]) -> float | None:
    """The share of the input that came from the cache; None without any input."""
    known = list(turns)
    inputs = sum(turn.input_tokens for turn in known)
    return sum(min(turn.cached_tokens, turn.input_tokens) for turn in known) / inputs if inputs else None


def lost_usd(switch: Switch, prices: PriceBook) -> Decimal | None:
    """What the request cost more than with the lost tokens from the cache; None for an unknown price."""
    turn = switch.turn
    cached = turn.cached_tokens + switch.lost_tokens
    paid, kept = (
        prices.cost_usd(turn.model, TokenCounts(turn.input_tokens, count, 0), turn.service_tier)
        for count in (turn.cached_tokens, cached)
    )
    if paid is None or kept is None:
        return None
    return paid - kept
