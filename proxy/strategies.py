"""Pure: one short function per strategy; each picks from accounts that can all serve."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Usage(Protocol):
    """What a strategy looks at."""

    @property
    def account_id(self) -> str: ...
    @property
    def weekly_credits(self) -> float: ...
    @property
    def last_selected_at(self) -> float: ...
    def weekly_used(self, now: float) -> float: ...
    def primary_used(self, now: float) -> float: ...


class HasPolicy(Protocol):
    @property
    def policy(self) -> str: ...


class Resets(Protocol):
    @property
    def secondary(self) -> HasReset | None: ...


class HasReset(Protocol):
    @property
    def reset_at(self) -> float | None: ...


C = TypeVar("C", bound=Usage)
R = TypeVar("R", bound=Resets)
P = TypeVar("P", bound=HasPolicy)
Strategy = Callable[[Sequence[C], float, random.Random], C]

# Days to the reset that an account with an unknown reset is taken to have.
_UNKNOWN_DAYS = 10_000
# Whose turn it is, first to last.
POLICIES = ("burn_first", "normal", "preserve")


def usage_weighted(able: Sequence[C], now: float, rng: random.Random) -> C:
    """The least used account; ties go to the one that has rested longest."""
    return min(
        able,
        key=lambda account: (
            account.weekly_used(now),
            account.primary_used(now),
            account.last_selected_at,
            account.account_id,
        ),
    )


def capacity_weighted(able: Sequence[C], now: float, rng: random.Random) -> C:
    """By chance, in proportion to the weekly credits that each account has left."""
    if len(able) == 1:
        return able[0]
    weights = [account.weekly_credits * max(0.0, 1.0 - account.weekly_used(now) / 100.0) for account in able]
    if not any(weights):
        return usage_weighted(able, now, rng)
    return rng.choices(able, weights)[0]


def round_robin(able: Sequence[C], now: float, rng: random.Random) -> C:
    """The account that was chosen longest ago."""
    return min(able, key=lambda account: (account.last_selected_at, account.account_id))


def first_in_turn(able: list[P]) -> list[P]:
    """Only those that the operator wants to be used before the others."""
    first = min(POLICIES.index(account.policy) for account in able)
    return [account for account in able if account.policy == POLICIES[first]]


def earliest_reset(able: list[R], now: float) -> list[R]:
    """Only those whose weekly window resets soonest, in whole days: their quota would expire unused."""

    def days(account: R) -> int:
        reset_at = account.secondary.reset_at if account.secondary else None
        return _UNKNOWN_DAYS if reset_at is None else max(0, int((reset_at - now) // 86_400))

    soonest = min(days(account) for account in able)
    return [account for account in able if days(account) == soonest]


STRATEGIES = {
    "capacity_weighted": capacity_weighted,
    "usage_weighted": usage_weighted,
    "round_robin": round_robin,
}
