"""Pure: which account serves a request, and why every other one does not."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy import limits
from proxy.strategies import STRATEGIES, earliest_reset, first_in_turn
from usage.windows import is_for_model


@dataclass(slots=True)
class Window:
    """The newest reading of one window. Times are unix seconds."""

    used_percent: float
    reset_at: float | None
    window_minutes: int | None
    recorded_at: float

    def known_percent(self, now: float) -> float | None:
        """None once the reset has passed: unknown until fresh proof."""
        return None if self.reset_at is not None and self.reset_at <= now else self.used_percent


@dataclass(frozen=True, slots=True)
class ModelLimit:
    """A limit that an account has for one model, which `name` is the name of."""

    name: str
    windows: Mapping[str, Window]

    def used_up_until(self, now: float) -> float | None:
        """None while it has room, and while nothing current is known."""
        ends = [
            window.reset_at or window.recorded_at + limits.LIMIT_WITHOUT_RESET_S
            for window in self.windows.values()
            if (window.known_percent(now) or 0.0) >= 100
        ]
        until = max(ends, default=0.0)
        return until if until > now else None


@dataclass(slots=True)
class Candidate:
    """One account as the choice sees it. The pool owns and changes it; choosing only reads."""

    account_id: str
    label: str
    plan_type: str = "unknown"
    status: str = "active"
    reason: str = ""
    blocked_at: float | None = None
    reset_at: float | None = None
    block_window_reset_at: float | None = None
    primary: Window | None = None
    secondary: Window | None = None
    # By the limits' ids.
    model_limits: Mapping[str, ModelLimit] = field(default_factory=dict)
    weekly_credits: float = 0.0
    # The operator's word: when it is its turn, and from where on it takes no new conversation.
    policy: str = "normal"
    stop_at_percent: float | None = None
    in_flight: int = 0
    last_selected_at: float = 0.0
    error_count: int = 0
    last_error_at: float = 0.0

    @property
    def is_limited(self) -> bool:
        return self.status in ("rate_limited", "quota_exceeded")

    def is_backing_off(self, now: float) -> bool:
        # An error that is still to come was seen before the clock was set back: nobody waits for that hour.
        return self.last_error_at <= now < self.backoff_until()

    def backoff_until(self) -> float:
        """When errors in a row stop keeping the account out; 0 when they do not."""
        over = self.error_count - limits.ERRORS_BEFORE_BACKOFF
        if over < 0:
            return 0.0
        return self.last_error_at + min(limits.BACKOFF_LIMIT_S, limits.BACKOFF_S * 2.0**over)

    def used_up_for(self, model: str, now: float) -> tuple[str, float] | None:
        """The limit for the model that is used up, by its name, and until when."""
        for limit in self.model_limits.values():
            until = limit.used_up_until(now)
            if until is not None and is_for_model(limit.name, model):
                return limit.name, until
        return None

    def is_in_reserve(self, now: float) -> bool:
        known = self.secondary.known_percent(now) if self.secondary else None
        return self.stop_at_percent is not None and known is not None and known >= self.stop_at_percent

    def weekly_used(self, now: float) -> float:
        """Percent of the weekly window, falling back to the 5-hour one, plus what is in flight."""
        for window in (self.secondary, self.primary):
            known = window.known_percent(now) if window else None
            if known is not None:
                return known + self.in_flight * limits.IN_FLIGHT_PERCENT
        return self.in_flight * limits.IN_FLIGHT_PERCENT

    def primary_used(self, now: float) -> float:
        known = self.primary.known_percent(now) if self.primary else None
        return (known or 0.0) + self.in_flight * limits.IN_FLIGHT_PERCENT


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Why an account is not the one, in an operator's words; `until` is unix seconds."""

    account_id: str
    label: str
    reason: str
    until: float | None = None
    by_limit: bool = False
    # It could never serve this request, so that it says nothing about the pool.
    is_unsuited: bool = False
    # Not an account of the client's key: nothing of it is told to that client.
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """What the choice depends on besides the accounts."""

    model: str = ""
    affinity: str | None = None
    # Accounts that were asked in this request already.
    excluded: Mapping[str, PassedOver] = field(default_factory=dict)
    # The only account that can serve: it has made what the request refers to.
    only: str | None = None
    # Plans that are known to lack the model.
    plans_without_model: frozenset[str] = frozenset()
    # The accounts that the client's key is bound to; None: any.
    accounts: frozenset[str] | None = None
    strategy: str = "capacity_weighted"
    prefer_earlier_reset: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The account that is asked next, and why."""

    account_id: str
    why: str
    passed_over: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """No account can serve."""

    passed_over: tuple[PassedOver, ...]

    @property
    def own(self) -> tuple[PassedOver, ...]:
        """The accounts that the client may use, and may hear of."""
        return tuple(account for account in self.passed_over if not account.is_foreign)

    @property
    def only_limits(self) -> bool:
        suited = [account for account in self.own if not account.is_unsuited]
        return bool(suited) and all(account.by_limit for account in suited)

    @property
    def earliest_return(self) -> float | None:
        times = [account.until for account in self.own if account.by_limit and account.until]
        return min(times, default=None)


_TURN_WORDS = {
    "burn_first": " among those to burn first",
    "normal": " while others are preserved",
    "preserve": "",
}
_OUT = {
    "paused": "paused by the operator",
    "reauth_required": "sign-in needed",
    "deactivated": "closed by upstream",
}


def obstacle(candidate: Candidate, ask: Ask, now: float) -> PassedOver | None:
    """Why this account cannot serve now; None when it can."""
    if ask.accounts is not None and candidate.account_id not in ask.accounts:
        return PassedOver(
            candidate.account_id, candidate.label, "not an account of this API key", is_foreign=True
        )
    excluded = ask.excluded.get(candidate.account_id)
    if excluded is not None:
        return excluded

    def passed_over(reason: str, until: float | None = None, *, by_limit: bool = False) -> PassedOver:
        return PassedOver(candidate.account_id, candidate.label, reason, until, by_limit)

    if candidate.plan_type in ask.plans_without_model:
        reason = f"its plan ({candidate.plan_type}) does not have the model"
        return PassedOver(candidate.account_id, candidate.label, reason, is_unsuited=True)
    if candidate.status in _OUT:
        words = _OUT[candidate.status]
        has_reason = candidate.reason and candidate.status != "paused"
        return passed_over(f"{words}: {candidate.reason}" if has_reason else words)
    if candidate.is_limited and candidate.reset_at is not None and candidate.reset_at > now:
        limit = "quota used up" if candidate.status == "quota_exceeded" else "usage limit reached"
        return passed_over(limit, candidate.reset_at, by_limit=True)
    if (used_up := candidate.used_up_for(ask.model, now)) is not None:
        name, until = used_up
        return passed_over(f"its limit for {name} is used up", until, by_limit=True)
    if ask.only is not None and candidate.account_id != ask.only:
        return passed_over("does not have the compacted history or the files of this request")
    if candidate.account_id not in (ask.affinity, ask.only) and candidate.is_in_reserve(now):
        reset_at = candidate.secondary.reset_at if candidate.secondary else None
        return passed_over(
            f"held in reserve from {candidate.stop_at_percent:g} % of its week on", reset_at, by_limit=True
        )
    return None


def choose(pool: Iterable[Candidate], ask: Ask, now: float, rng: random.Random) -> Choice | Refusal:
    """The account that serves, or every account's reason. Deterministic for a given `rng`."""
    able: list[Candidate] = []
    passed: list[PassedOver] = []
    backing_off: list[Candidate] = []
    for candidate in pool:
        why_not = obstacle(candidate, ask, now)
        if why_not is not None:
            passed.append(why_not)
        elif candidate.is_backing_off(now):
            backing_off.append(candidate)
        else:
            able.append(candidate)
    if not able and backing_off:
        # Rather an account that failed lately than none at all.
        able = [min(backing_off, key=lambda candidate: (candidate.backoff_until(), candidate.account_id))]
    chosen_from_backoff = {candidate.account_id for candidate in able}
    passed.extend(
        PassedOver(
            candidate.account_id, candidate.label, "cooling down after errors", candidate.backoff_until()
        )
        for candidate in backing_off
        if candidate.account_id not in chosen_from_backoff
    )
    if not able:
        return Refusal(tuple(passed))
    kept = _kept(able, ask, now)
    if kept is not None:
        return Choice(kept.account_id, "the conversation's account", tuple(passed))
    in_turn = first_in_turn(able)
    words = _TURN_WORDS[in_turn[0].policy] if len(in_turn) < len(able) else ""
    if ask.prefer_earlier_reset:
        in_turn = earliest_reset(in_turn, now)
    chosen = STRATEGIES[ask.strategy](in_turn, now, rng)
    passed.extend(
        PassedOver(candidate.account_id, candidate.label, "nearly used up, and another is fresh")
        for candidate in able
        if candidate.account_id == ask.affinity != chosen.account_id
    )
    return Choice(chosen.account_id, f"chosen by {ask.strategy}{words}", tuple(passed))


def _kept(able: list[Candidate], ask: Ask, now: float) -> Candidate | None:
    """The conversation's own account, unless it is nearly used up and a much fresher one exists."""
    own = next((candidate for candidate in able if candidate.account_id == ask.affinity), None)
    if own is None:
        return None
    used = own.primary.known_percent(now) if own.primary else None
    if used is not None and used > limits.AFFINITY_YIELDS_PERCENT and ask.only is None:
        for other in able:
            fresh = other.primary.known_percent(now) if other.primary else None
            if other is not own and (fresh if fresh is not None else 0.0) < limits.AFFINITY_YIELDS_TO_PERCENT:
                return None
    return own


def moves_for_good(candidate: Candidate | None, now: float, model: str = "") -> bool:
    """Whether a conversation leaves this account: through a short block others serve, and it returns."""
    if candidate is None:
        return True
    used_up = candidate.used_up_for(model, now)
    if used_up is not None and used_up[1] - now > limits.AFFINITY_BLOCK_S:
        return True
    if candidate.is_limited and candidate.reset_at is not None and candidate.reset_at > now:
        return candidate.reset_at - now > limits.AFFINITY_BLOCK_S
    if candidate.status == "active":
        used = candidate.primary.known_percent(now) if candidate.primary else None
        return used is not None and used > limits.AFFINITY_YIELDS_PERCENT
    return candidate.status in ("paused", "reauth_required", "deactivated")
