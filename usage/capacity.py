"""Pure: no I/O. How many credits a plan has in each window."""

from __future__ import annotations

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


def capacity_credits(plan_type: str, window: str) -> float | None:
    """None for a plan or a window without a known capacity."""
    plan = plan_type.lower()
    credits = _CREDITS.get(_ALIASES.get(plan, plan))
    return None if credits is None else credits[_WINDOWS[window]]


def weekly_credits(plan_type: str) -> float:
    return capacity_credits(plan_type, "secondary") or 0.0
