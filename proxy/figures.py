"""Pure: the pool's figures, as clients see them instead of one account's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from proxy.routing import Candidate, Window
from usage.capacity import capacity_credits, pool_capacity

_OUT = frozenset({"paused", "deactivated", "reauth_required"})
# A plan that has only a month shows it where others show the week.
_CREDIT_WINDOWS = (("primary", "5h", False), ("secondary", "7d", False), ("secondary", "monthly", True))
_LONGER_THAN_A_WEEK_MIN = 14 * 24 * 60


def pool_window(candidates: Iterable[Candidate], name: str, now: float) -> Window | None:
    """Capacity-weighted use over the accounts with a known reading; the earliest reset. None without any."""
    # (credits, percent): accounts of plans without a known capacity count only among themselves.
    shares: list[tuple[float, float]] = []
    resets: list[float] = []
    minutes: int | None = None
    recorded_at = 0.0
    for candidate, window, percent in _known(candidates, name, now):
        shares.append((capacity_credits(candidate.plan_type, name) or 0.0, percent))
        minutes = minutes or window.window_minutes
        recorded_at = max(recorded_at, window.recorded_at)
        if window.reset_at is not None:
            resets.append(window.reset_at)
    if not shares:
        return None
    if not any(credits for credits, _ in shares):
        shares = [(1.0, percent) for _, percent in shares]
    used = sum(credits * percent for credits, percent in shares) / sum(credits for credits, _ in shares)
    return Window(used, min(resets, default=None), minutes, recorded_at)


def upstream_limits(candidates: Iterable[Candidate], now: float) -> list[dict[str, Any]]:
    """Upstream's own limits over these accounts, in credits, without windows of which nothing is known."""
    limits = []
    found = list(candidates)
    for name, window, is_month in _CREDIT_WINDOWS:
        known = [
            (candidate.plan_type, percent, reading.reset_at)
            for candidate, reading, percent in _known(found, name, now)
            if ((reading.window_minutes or 0) > _LONGER_THAN_A_WEEK_MIN) == is_month
        ]
        pool = pool_capacity("monthly" if is_month else name, ((plan, used) for plan, used, _ in known))
        if not pool.capacity_credits:
            continue
        most, used = round(pool.capacity_credits), round(pool.used_credits)
        reset_at = min((at for _, _, at in known if at is not None), default=None)
        limits.append(
            {
                "limit_type": "credits",
                "limit_window": window,
                "max_value": most,
                "current_value": used,
                "remaining_value": most - used,
                "model_filter": None,
                "reset_at": reset_at and f"{datetime.fromtimestamp(reset_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
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
