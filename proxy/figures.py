"""Pure: the pool's figures, as clients see them instead of one account's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from proxy.routing import Candidate, Window
from usage.capacity import Part, capacity_credits, pooled

_OUT = frozenset({"paused", "deactivated", "reauth_required"})
# A plan that has only a month shows it where others show the week.
_CREDIT_WINDOWS = (("primary", "5h", False), ("secondary", "7d", False), ("secondary", "monthly", True))
_LONGER_THAN_A_WEEK_MIN = 14 * 24 * 60


def pool_window(candidates: Iterable[Candidate], name: str, now: float) -> Window | None:
    """As the dashboard has it, over the accounts in use. None without any current reading."""
    known = [
        (capacity_credits(candidate.plan_type, name) or 0.0, window, percent)
        for candidate, window, percent in _known(candidates, name, now)
    ]
    if not known:
        return None
    # Accounts of plans without a known capacity count only among themselves.
    if any(credits for credits, _, _ in known):
        known = [each for each in known if each[0]]
    else:
        known = [(1.0, window, percent) for _, window, percent in known]
    pool = pooled(
        Part(credits, percent, window.reset_at, window.window_minutes) for credits, window, percent in known
    )
    recorded_at = max(window.recorded_at for _, window, _ in known)
    return Window(pool.capacity.used_percent, pool.reset_at, pool.minutes, recorded_at)


def upstream_limits(candidates: Iterable[Candidate], now: float) -> list[dict[str, Any]]:
    """Upstream's own limits over these accounts, in credits, without windows of which nothing is known."""
    limits = []
    found = list(candidates)
    for name, window, is_month in _CREDIT_WINDOWS:
        of_plan = "monthly" if is_month else name
        pool = pooled(
            Part(capacity_credits(candidate.plan_type, of_plan) or 0.0, percent, reading.reset_at)
            for candidate, reading, percent in _known(found, name, now)
            if ((reading.window_minutes or 0) > _LONGER_THAN_A_WEEK_MIN) == is_month
        )
        if not pool.capacity.capacity_credits:
            continue
        most, used = round(pool.capacity.capacity_credits), round(pool.capacity.used_credits)
        limits.append(
            {
                "limit_type": "credits",
                "limit_window": window,
                "max_value": most,
                "current_value": used,
                "remaining_value": most - used,
                "model_filter": None,
                "reset_at": pool.reset_at
                and f"{datetime.fromtimestamp(pool.reset_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
                "source": "aggregate",
            }
        )
    return limits


def _known(
    candidates: Iterable[Candidate], name: str, now: float
) -> Iterator[tuple[Candidate, Window, float]]:
    """The accounts that can serve, now or after a reset, with their reading of a window and its percent."""
    for candidate in candidates:
        window: Window | None = getattr(candidate, name)
        percent = window.known_percent(now) if window else None
        if window is None or percent is None or candidate.status in _OUT:
            continue
        yield candidate, window, min(100.0, percent)


def in_pool_terms(
    event: dict[str, Any], primary: Window | None, secondary: Window | None, now: float
) -> dict[str, Any]:
    """A codex.rate_limits event with the pool's windows in place of the account's."""
    limits = event.get("rate_limits")
    rewritten = dict(limits) if isinstance(limits, dict) else {}
    for name, window in (("primary", primary), ("secondary", secondary)):
        rewritten[name] = _event_window(window, now) if window is not None else None
    worst = max((window.used_percent for window in (primary, secondary) if window), default=0.0)
    rewritten["limit_reached"] = worst >= 100.0
    rewritten["allowed"] = worst < 100.0
    return {**event, "rate_limits": rewritten}


def _event_window(window: Window, now: float) -> dict[str, Any]:
    figures: dict[str, Any] = {"used_percent": round(window.used_percent, 1)}
    if window.window_minutes is not None:
        figures["window_minutes"] = window.window_minutes
    if window.reset_at is not None:
        figures["reset_after_seconds"] = max(0, int(window.reset_at - now))
        figures["reset_at"] = int(window.reset_at)
    return figures
