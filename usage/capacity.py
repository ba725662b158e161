"""Pure: no I/O. How many credits a plan has in each window, and what a pool of accounts has of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
    def remaining_percent(self) -> float:
        return 100.0 * self.remaining_credits / self.capacity_credits if self.capacity_credits else 0.0


def pool_capacity(window: str, readings: Iterable[tuple[str, float | None]]) -> PoolCapacity:
    """From (plan, used percent) of each account. One without a reading adds neither use nor capacity."""
    capacity = used = 0.0
    for plan_type, used_percent in readings:
        credits = capacity_credits(plan_type, window)
        if used_percent is None or not credits:
            continue
        capacity += credits
        used += credits * min(max(used_percent, 0.0), 100.0) / 100.0
    return PoolCapacity(capacity, used)


def capacity_credits(plan_type: str, window: str) -> float | None:
    """None for a plan or a window without a known capacity."""
    plan = plan_type.lower()
    credits = _CREDITS.get(_ALIASES.get(plan, plan))
    return None if credits is None else credits[_WINDOWS[window]]


def weekly_credits(plan_type: str) -> float:
    return capacity_credits(plan_type, "secondary") or 0.0
