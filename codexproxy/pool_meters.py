"""What is left of each window over the pool: a bar of the accounts' shares, even pace, and the forecast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.html import format_html

from accounts.models import Account
from codexproxy.admin_base import compact, duration_words, moment
from requestlogs.figures import WindowState, pool_window, window_state
from usage.pace import Forecast, Pace
from usage.selectors import pool_weekly_pace

_POOL_WINDOWS = (("primary", "5 hours"), ("secondary", "Week"))
_MONTH_MINUTES = 28 * 1440
# Up to here an account's share is called bad, and fair; the meters' own thresholds.
_BAD_PERCENT, _FAIR_PERCENT = 20, 50

State = tuple[Account, WindowState]


@dataclass(frozen=True, slots=True)
class Share:
    """What one account has left of the pool's window: where it lies in the bar, in percent of the whole."""

    x: float
    width: float
    level: str
    words: str


def pool_meters(
    accounts: list[Account], expected: Mapping[str, Forecast], now: datetime
) -> list[dict[str, Any]]:
    """Of every window that some account has a reading of."""
    found = []
    for name, label in _POOL_WINDOWS:
        states = [
            (account, window_state(account, {row.window: row for row in account.windows.all()}, name, now))
            for account in accounts
        ]
        pool = pool_window(states, name)
        if not pool.capacity.capacity_credits:
            continue
        known = [state for state in states if state[1].used_percent is not None and state[1].capacity]
        left = round(pool.capacity.remaining_percent)
        parts = shares(known)
        unknown = len(accounts) - len(known)
        found.append(
            {
                "label": "Month" if pool.minutes >= _MONTH_MINUTES else label,
                "percent": left,
                "text": f"{left} % left",
                "level": _level(left),
                "credits": f"{compact(pool.capacity.remaining_credits)} of "
                f"{compact(pool.capacity.capacity_credits)} credits",
                "unknown": f"{unknown} of {len(accounts)} accounts not known" if unknown else "",
                "reset_at": pool.reset_at,
                "reset": f"first reset in {duration_words(pool.reset_at - now)}" if pool.reset_at else "",
                "shares": parts,
                **_even(name, accounts, known, now),
                "value_text": f"{left} % left: {'; '.join(part.words for part in parts)}",
                "forecast": forecast_words(expected.get(name), now),
            }
        )
    return found


def _even(name: str, accounts: list[Account], known: list[State], now: datetime) -> dict[str, Any]:
    """Where even use would be, for the bar and in a sentence."""
    if name == "secondary":
        pace = pool_weekly_pace(accounts, now)
        even = None if pace is None else round(100 - pace.expected_percent)
        return {"even": even, "pace": pace_words(pace)}
    even = even_percent(known, now)
    return {"even": even, "pace": "" if even is None else f"Even use would be at {even} % left."}


def shares(known: Iterable[State]) -> list[Share]:
    """Whoever has most left comes first; what is used is the bar's empty end."""
    left = [
        (account, (state.capacity or 0.0) * (state.remaining_percent or 0.0) / 100, state)
        for account, state in known
    ]
    whole = sum(state.capacity or 0.0 for _, _, state in left)
    found = []
    x = 0.0
    for account, credits, state in sorted(left, key=lambda row: (-row[1], row[0].display_name)):
        width = 100 * credits / whole
        percent = round(state.remaining_percent or 0.0)
        words = f"{account.display_name} {percent} % left, {compact(credits)} credits"
        found.append(Share(round(x, 2), round(width, 2), _level(percent), words))
        x += width
    return found


def even_percent(known: Iterable[State], now: datetime) -> int | None:
    """What would be left by now if every account used its window evenly; None while no end is known."""
    capacity = even = 0.0
    for _, state in known:
        if state.reset_at is None or not state.minutes or not state.capacity:
            continue
        ahead = (state.reset_at - now).total_seconds() / 60 / state.minutes
        capacity += state.capacity
        even += state.capacity * min(1.0, max(0.0, ahead))
    return round(100 * even / capacity) if capacity else None


def forecast_words(expected: Forecast | None, now: datetime) -> str:
    if expected is None:
        return ""
    if expected.dry_at is None:
        if expected.saved_at is None:
            return "At the present rate it does not run dry."
        return format_html("At the present rate the reset at {} saves it.", _clock(expected.saved_at))
    dry = format_html(
        "At the present rate it runs dry at {}, in {}",
        _clock(expected.dry_at),
        duration_words(_at(expected.dry_at) - now),
    )
    if expected.postponed_at:
        postponed = _clock(expected.postponed_at)
        return format_html("{}, although the reset at {} gives some back.", dry, postponed)
    if expected.too_late_at:
        too_late = _clock(expected.too_late_at)
        return format_html("{}; the next reset, at {}, does not save it.", dry, too_late)
    return format_html("{}.", dry)


def pace_words(pace: Pace | None) -> str:
    if pace is None:
        return ""
    if pace.word == "even":
        return f"Even use would be at {100 - pace.expected_percent:.0f} % left, and so it is."
    even = f"even use would be at {100 - pace.expected_percent:.0f} % left"
    if pace.word == "fast":
        return f"It is used faster than evenly: {even}."
    return f"It is used more slowly than evenly: {even}."


def _clock(seconds: float) -> str:
    return moment(_at(seconds))


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _level(percent: float) -> str:
    if percent <= _BAD_PERCENT:
        return "bad"
    return "fair" if percent <= _FAIR_PERCENT else "good"
