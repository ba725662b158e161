"""Pure: no I/O. Readings of an account's windows, from whichever source they come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_DAY_MINUTES = 1440
_FAMILY = "codex"
# Longer than any window there is. It also keeps what is stored within the columns' range.
_LONGEST_MINUTES = 400 * _DAY_MINUTES
_MOST_PERCENT = 10_000.0
# What a reset may lie ahead when a window does not say how long it is.
_UNTOLD_MINUTES = 31 * _DAY_MINUTES


@dataclass(frozen=True, slots=True)
class WindowReading:
    """One window. `reset_at` is unix seconds; `used_percent` is at least 0 and may exceed 100."""

    window: str
    used_percent: float
    reset_at: float | None
    window_minutes: int | None


@dataclass(frozen=True, slots=True)
class Credits:
    has_credits: bool
    unlimited: bool
    balance: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """What one answer said of an account. `recorded_at` is unix seconds."""

    windows: tuple[WindowReading, ...]
    recorded_at: float
    source: str
    plan_type: str | None = None
    credits: Credits | None = None


def sample_from_headers(headers: Iterable[tuple[bytes, bytes]], now: float) -> Sample | None:
    """From x-codex-primary-used-percent and its companions; None without them."""
    found = {
        name[8:].decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name.startswith(b"x-codex-")
    }
    raw = {
        name: {
            "used_percent": found.get(f"{name}-used-percent"),
            "window_minutes": found.get(f"{name}-window-minutes"),
            "reset_at": found.get(f"{name}-reset-at"),
        }
        for name in ("primary", "secondary")
    }
    credits = {
        "has_credits": found.get("credits-has-credits"),
        "unlimited": found.get("credits-unlimited"),
        "balance": found.get("credits-balance"),
    }
    return _sample(raw, credits, now, "headers", None)


def sample_from_event(event: Mapping[str, Any], now: float) -> Sample | None:
    """From a codex.rate_limits event; None when it is about another family of limits."""
    for name in ("metered_limit_name", "limit_name", "limit_id"):
        family = event.get(name)
        if family not in (None, "", _FAMILY):
            return None
    raw = _mapping(event.get("rate_limits"))
    return _sample(raw, _mapping(event.get("credits")), now, "event", _text(event.get("plan_type")))


def sample_from_usage(payload: Mapping[str, Any], now: float) -> Sample | None:
    """From the answer of the usage endpoint."""
    limits = _mapping(payload.get("rate_limit"))
    raw = {"primary": limits.get("primary_window"), "secondary": limits.get("secondary_window")}
    return _sample(raw, _mapping(payload.get("credits")), now, "usage", _text(payload.get("plan_type")))


def _sample(
    raw: Mapping[str, Any], credits: Mapping[str, Any], now: float, source: str, plan: str | None
) -> Sample | None:
    readings = [
        reading
        for name in ("primary", "secondary")
        if (reading := _reading(name, _mapping(raw.get(name)), now)) is not None
    ]
    if not readings:
        return None
    return Sample(tuple(_renamed(readings)), now, source, plan, _credits(credits))


def _reading(name: str, raw: Mapping[str, Any], now: float) -> WindowReading | None:
    used = finite(raw.get("used_percent"))
    if used is None:
        return None
    minutes = finite(raw.get("window_minutes"))
    seconds = finite(raw.get("limit_window_seconds"))
    if minutes is None and seconds is not None:
        minutes = math.ceil(seconds / 60)
    length = int(minutes) if minutes is not None and 1 <= minutes <= _LONGEST_MINUTES else None
    return WindowReading(name, min(max(0.0, used), _MOST_PERCENT), _reset_at(raw, length, now), length)


def _reset_at(raw: Mapping[str, Any], window_minutes: int | None, now: float) -> float | None:
    reset_at = _after_epoch(raw.get("reset_at")) or _after_epoch(raw.get("resets_at"))
    after = finite(raw.get("reset_after_seconds"))
    if reset_at is None and after is not None:
        reset_at = now + max(0.0, after)
    if reset_at is None:
        return None
    # A hint that lies further away than the window is long cannot be right.
    return min(reset_at, now + 60.0 * (window_minutes or _UNTOLD_MINUTES))


def _after_epoch(value: object) -> float | None:
    seconds = finite(value)
    return seconds if seconds is not None and seconds > 0 else None


def _renamed(readings: list[WindowReading]) -> list[WindowReading]:
    """A lone window is what its length says: a month or a week, however upstream calls it."""
    if len(readings) != 1 or readings[0].window_minutes is None:
        return readings
    only, minutes = readings[0], readings[0].window_minutes
    name = only.window
    if minutes >= 28 * _DAY_MINUTES:
        name = "monthly"
    elif minutes >= 6 * _DAY_MINUTES:
        name = "secondary"
    return [WindowReading(name, only.used_percent, only.reset_at, only.window_minutes)]


def _credits(raw: Mapping[str, Any]) -> Credits | None:
    has, unlimited = _flag(raw.get("has_credits")), _flag(raw.get("unlimited"))
    if has is None and unlimited is None:
        return None
    return Credits(bool(has), bool(unlimited), finite(raw.get("balance")))


def finite(value: object) -> float | None:
    """A number or a numeric text; never a boolean, NaN or infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _flag(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false", "1", "0"):
        return value.strip().lower() in ("true", "1")
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    # Unprintable is garbage, and some databases refuse it.
    return value if isinstance(value, str) and value and value.isprintable() else None
