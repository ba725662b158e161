"""Pure: an account's rate-limit windows in the three forms in which the backend tells them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Window:
    used_percent: float
    window_minutes: int
    reset_at: int


@dataclass(slots=True)
class Credits:
    has_credits: bool = False
    unlimited: bool = False
    balance: str | None = None


@dataclass(slots=True)
class Windows:
    primary: Window | None
    secondary: Window | None
    credits: Credits = field(default_factory=Credits)
    additional: list[dict[str, Any]] | None = None

    @classmethod
    def fresh(cls, now: float) -> Windows:
        return cls(Window(12, 300, int(now) + 9_000), Window(34, 10_080, int(now) + 400_000))

    @property
    def limit_reached(self) -> bool:
        return any(window and window.used_percent >= 100 for window in (self.primary, self.secondary))


def window_headers(windows: Windows) -> list[tuple[str, str]]:
    headers = []
    for name, window in (("primary", windows.primary), ("secondary", windows.secondary)):
        if window is None:
            continue
        headers += [
            (f"x-codex-{name}-used-percent", str(window.used_percent)),
            (f"x-codex-{name}-window-minutes", str(window.window_minutes)),
            (f"x-codex-{name}-reset-at", str(window.reset_at)),
        ]
    headers.append(("x-codex-credits-has-credits", str(windows.credits.has_credits).lower()))
    headers.append(("x-codex-credits-unlimited", str(windows.credits.unlimited).lower()))
    if windows.credits.balance is not None:
        headers.append(("x-codex-credits-balance", windows.credits.balance))
    return headers


def _credits(windows: Windows) -> dict[str, Any]:
    held = windows.credits
    return {"has_credits": held.has_credits, "unlimited": held.unlimited, "balance": held.balance}


def _event_window(window: Window | None, now: float) -> dict[str, Any] | None:
    if window is None:
        return None
    return {
        "used_percent": window.used_percent,
        "window_minutes": window.window_minutes,
        "reset_after_seconds": max(0, window.reset_at - int(now)),
        "reset_at": window.reset_at,
    }


def _usage_window(window: Window | None, now: float) -> dict[str, Any] | None:
    if window is None:
        return None
    return {
        "used_percent": window.used_percent,
        "limit_window_seconds": window.window_minutes * 60,
        "reset_after_seconds": max(0, window.reset_at - int(now)),
        "reset_at": window.reset_at,
    }


def rate_limits_event(windows: Windows, plan: str, now: float) -> dict[str, Any]:
    return {
        "type": "codex.rate_limits",
        "plan_type": plan,
        "rate_limits": {
            "allowed": not windows.limit_reached,
            "limit_reached": windows.limit_reached,
            "primary": _event_window(windows.primary, now),
            "secondary": _event_window(windows.secondary, now),
        },
        "credits": _credits(windows),
    }


def usage_answer(windows: Windows, plan: str, now: float) -> dict[str, Any]:
    return {
        "plan_type": plan,
        "rate_limit": {
            "allowed": not windows.limit_reached,
            "limit_reached": windows.limit_reached,
            "primary_window": _usage_window(windows.primary, now),
            "secondary_window": _usage_window(windows.secondary, now),
        },
        "additional_rate_limits": windows.additional,
        "credits": _credits(windows),
        "spend_control": None,
        "rate_limit_reached_type": None,
    }
