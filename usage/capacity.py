"""Pure: no I/O. How many credits a plan has in each window, and what a pool of accounts has of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import NamedTuple

# plan → (5 hours, week, month); None = the plan has no such window.
_CREDITS: dict[str, tuple[float | None, float | None, float | None]] = {
    "free": (0, 1134, 1134),
    "plus": (225, 7560, None),
    "business": (225, 7560, None),
    "team": (225, 7560, None),
    "edu": (225, 7560, None),
    "pro": (1500, 50_400, None),
    "prolite": (1125, 37_800, None),
    "enterprise": (1500, 50_400, None),
}
_ALIASES = {
    "education": "edu",
    **dict.fromkeys(("k12", "guest", "go", "free_workspace", "quorum", "unknown"), "free"),
}
_WINDOWS = {"primary": 0, "secondary": 1, "monthly": 2}


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """One window over all accounts that have a reading of it."""

    capacity_credits: float = 0.0
    used_credits: float = 0.0

    @property
    def remaining_credits(self) -> float:
        return self.capacity_credits - self.used_credits

    @property
    def used_percent(self) -> float:
        return 100.0 * self.used_credits / self.capacity_credits if self.capacity_credits else 0.0

    @property
    def remaining_percent(self) -> float:
        return 100.0 * self.remaining_credits / self.capacity_credits if self.capacity_credits else 0.0


class Part(NamedTuple):
    """One account's part in a window of the pool: what its plan has in it, and a current reading of it."""

    credits: float
    used_percent: float
    # Unix seconds.
    reset_at: float | None = None
    minutes: int | None = None


@dataclass(frozen=True, slots=True)
class Pooled:
    """`reset_at`, unix seconds, is the earliest; `minutes` are those of the most capacity."""

    capacity: PoolCapacity
    reset_at: float | None
    minutes: int | None


def pooled(parts: Iterable[Part]) -> Pooled:
    """Of the accounts that have a reading of it. One whose plan has nothing in it has no say in anything."""
    capacity = used = 0.0
    resets: list[float] = []
    held: dict[int, float] = defaultdict(float)
    for part in parts:
        if not part.credits:
            continue
        capacity += part.credits
        used += part.credits * min(max(part.used_percent, 0.0), 100.0) / 100.0
        if part.reset_at is not None:
            resets.append(part.reset_at)
        if part.minutes:
            held[part.minutes] += part.credits
    # A pool may have weeks and months.
    minutes = max(held, key=lambda each: held[each], default=None)
    return Pooled(PoolCapacity(capacity, used), min(resets, default=None), minutes)


def window_key(name: str, known: Container[str]) -> str:
    """A plan that has only a month has it where others have the week."""
    return "monthly" if name == "secondary" and name not in known and "monthly" in known else name


def capacity_credits(plan_type: str, window: str) -> float | None:
    """None for a plan or a window without a known capacity."""
    plan = plan_type.lower()
    credits = _CREDITS.get(_ALIASES.get(plan, plan))
    return None if credits is None else credits[_WINDOWS[window]]


def weekly_credits(plan_type: str) -> float:
    return capacity_credits(plan_type, "secondary") or 0.0
