"""Pure: what a request may use up, what it has used, and whether a key's limits leave room for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from proxy import limits
from proxy.errors import Busy, ProxyError
from proxy.surface import USAGE_LIMIT
from requestlogs.records import Record, TokenCounts
from usage.pricing import PUBLISHED, PriceBook

HOUR_S = 3600.0
WINDOW_S: Mapping[str, float] = {
    "5h": 5 * HOUR_S,
    "daily": 24 * HOUR_S,
    "weekly": 7 * 24 * HOUR_S,
    "monthly": 30 * 24 * HOUR_S,
}
_MICRO = 1_000_000
# A model without a known price is charged as this one: a budget must not be open at one end.
_PRICED_AS = "gpt-5.5"


@dataclass(frozen=True, slots=True)
class Amounts:
    """Counts; the cost is in millionths of a dollar."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def of(self, kind: str) -> int:
        value: int = getattr(self, kind)
        return value


NOTHING = Amounts()


def estimate(body_size: int, model: str, tier: str, prices: PriceBook = PUBLISHED) -> Amounts:
    """What is held for a request until its real figures are known."""
    tokens = TokenCounts(_tokens_of(body_size), cached_input=0, output=limits.RESERVED_OUTPUT_TOKENS)
    return charged(model, tokens, tier, prices)


def spent(record: Record, prices: PriceBook = PUBLISHED) -> Amounts:
    """What an ended request has used: nothing, unless it was answered or upstream counted tokens."""
    tokens = record.tokens
    if tokens.input is None and tokens.output is None:
        return Amounts(requests=1) if record.status == "success" else NOTHING
    return charged(record.model, tokens, record.service_tier, prices)


def taken_along(record: Record, body_size: int, prices: PriceBook = PUBLISHED) -> Amounts:
    """What a client has got that left in the middle of its answer, before upstream counted.

    SECURITY: whoever hangs up before the last event would otherwise have all but that for nothing.
    """
    if not record.pieces_sent or record.error_code is not None or record.status != "error":
        return NOTHING
    tokens = TokenCounts(_tokens_of(body_size), cached_input=0, output=record.pieces_sent)
    return charged(record.model, tokens, record.service_tier, prices)


def _tokens_of(body_size: int) -> int:
    return min(limits.RESERVED_INPUT_TOKENS, 1 + body_size // limits.BYTES_PER_TOKEN)


def charged(model: str, tokens: TokenCounts, tier: str, prices: PriceBook) -> Amounts:
    """One request of so many tokens, whether its model has a known price or not."""
    counted = TokenCounts(
        max(0, tokens.input or 0), tokens.cached_input, max(0, tokens.output or 0), tokens.reasoning
    )
    cost = prices.cost_usd(model, counted, tier)
    if cost is None:
        cost = prices.cost_usd(_PRICED_AS, counted) or Decimal(0)
    return Amounts(1, counted.input or 0, counted.output or 0, int(cost * _MICRO))


@dataclass(frozen=True, slots=True)
class Claim:
    """One request asks for room."""

    key_id: int
    model: str
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class Held:
    """Room that a request has: limit's id → amount."""

    id: UUID
    claim: Claim
    amounts: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a request. Without `held` its key got limits while it ran."""

    key_id: int
    model: str
    spent: Amounts
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class OverLimit:
    """Why a claim found no room. `is_held`: requests in flight hold it, so that it may come free soon."""

    kind: str
    window: str
    model: str
    used: int
    max_value: int
    reset_at: float
    is_held: bool


@dataclass(slots=True)
class LimitState:
    """One limit while a group of claims and settlements goes over it."""

    id: int
    key_id: int
    kind: str
    window: str
    model: str
    max_value: int
    used: int
    reserved: int
    reset_at: float

    @property
    def room(self) -> int:
        return self.max_value - self.used - self.reserved

    def concerns(self, key_id: int, model: str) -> bool:
        return self.key_id == key_id and self.model in ("", model)

    def roll(self, now: float) -> None:
        """Begin a new window, in whole steps. What is in flight goes with it, and is charged to it."""
        if self.reset_at <= now:
            step = WINDOW_S[self.window]
            self.reset_at += step * (1 + (now - self.reset_at) // step)
            self.used = 0

    def give_back(self, amount: int) -> None:
        self.reserved = max(0, self.reserved - amount)


def claimed(states: Iterable[LimitState], claim: Claim) -> dict[int, int] | OverLimit:
    """Take room in every limit that concerns the claim, or in none of them.

    A limit admits while it has any room at all: a request's real size is known only at its end. Until then
    it holds what is left up to its estimate, so that requests at the same time do not count on the same room.
    """
    concerned = [state for state in states if state.concerns(claim.key_id, claim.model)]
    for state in concerned:
        if state.room <= 0:
            return OverLimit(
                state.kind, state.window, state.model, state.used, state.max_value, state.reset_at,
                is_held=state.used < state.max_value,
            )  # fmt: skip
    taken = {state.id: min(state.room, max(1, claim.amounts.of(state.kind))) for state in concerned}
    for state in concerned:
        state.reserved += taken[state.id]
    return taken


def over_limit(over: OverLimit, *, native: bool, now: float) -> ProxyError:
    """429: as Codex takes it for final on its own path, as OpenAI's clients know it on /v1."""
    resets = f"{datetime.fromtimestamp(over.reset_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    model = f" for model {over.model}" if over.model else ""
    message = (
        f"API key {over.kind} {over.window} limit exceeded{model}: "
        f"{figure(over.kind, over.used)} of {figure(over.kind, over.max_value)} used"
        f"{', the rest is held by requests that are running' if over.is_held else ''}. "
        f"Usage resets at {resets}."
    )
    if native:
        return ProxyError(
            429, USAGE_LIMIT, message, type=USAGE_LIMIT, extra={"resets_at": int(over.reset_at)}
        )
    wait_s = limits.BUSY_RETRY_AFTER_S if over.is_held else over.reset_at - now
    return Busy(message, wait_s, "rate_limit_exceeded")


def figure(kind: str, value: int) -> str:
    """An amount for a person to read."""
    if kind == "cost_usd":
        return f"${value / _MICRO:,.2f}" if value % 10_000 == 0 else f"${value / _MICRO:,.4f}"
    return f"{value:,}"
