"""Pure: no I/O. Readings of an account's windows, from whichever source they come."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_DAY_MINUTES = 1440
_FAMILY = "codex"
# Longer than any window there is. It also keeps what is stored within the columns' range.
_LONGEST_MINUTES = 400 * _DAY_MINUTES
_MOST_PERCENT = 10_000.0
# What a reset may lie ahead when a window does not say how long it is.
_UNTOLD_MINUTES = 31 * _DAY_MINUTES
# Limits for single models that one answer may tell of; upstream has a few.
_MOST_MODEL_LIMITS = 32
_MODEL_HEADER = re.compile(r"x-(.{1,80})-(?:primary|secondary)-used-percent")


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
class ModelLimit:
    """A limit beside the account's own. `name` is the model that it is for; "" where it is not told."""

    limit_id: str
    name: str
    windows: tuple[WindowReading, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one answer said of an account. `recorded_at` is unix seconds.

    `is_whole`: it tells of every window and limit that there is. `is_allowed`: upstream's own word on
    whether the account may be used; with credits it may beyond its windows.
    """

    windows: tuple[WindowReading, ...]
    recorded_at: float
    source: str
    plan_type: str | None = None
    credits: Credits | None = None
    model_limits: tuple[ModelLimit, ...] = ()
    is_whole: bool = False
    is_allowed: bool | None = None

    @property
    def words(self) -> str:
        """The figures themselves, as evidence: primary 3 % used until 2026-11-20 17:00 UTC."""
        return ", ".join(
            f"{reading.window} {reading.used_percent:g} % used{_until(reading.reset_at)}"
            for reading in self.windows
        )


def _until(reset_at: float | None) -> str:
    return "" if reset_at is None else f" until {datetime.fromtimestamp(reset_at, UTC):%Y-%m-%d %H:%M} UTC"


def sample_from_headers(headers: Iterable[tuple[bytes, bytes]], now: float) -> Sample | None:
    """From x-codex-primary-used-percent and its companions; None without them."""
    found = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name.startswith(b"x-")
    }
    windows = _windows(_header_windows(found, _FAMILY), now)
    limits = _model_limits((_header_limit(found, family) for family in _families(found)), now)
    if not windows and not limits:
        return None
    credits = {
        name: found.get(f"x-codex-credits-{name.replace('_', '-')}")
        for name in ("has_credits", "unlimited", "balance")
    }
    return Sample(windows, now, "headers", None, _credits(credits), limits)


def model_limit_id(named: object) -> str:
    """The limit for one model that a refusal names; "" for the account's own."""
    limit_id = _limit_id(named)
    return "" if limit_id == _FAMILY else limit_id


def sample_from_event(event: Mapping[str, Any], now: float) -> Sample | None:
    """From a codex.rate_limits event; None where it tells nothing."""
    named = [event.get(name) for name in ("metered_limit_name", "limit_id", "limit_name")]
    named = [name for name in named if name not in (None, "")]
    raw = _mapping(event.get("rate_limits"))
    if all(_limit_id(name) == _FAMILY for name in named):
        windows = _windows(raw, now)
        credits, plan = _credits(_mapping(event.get("credits"))), _text(event.get("plan_type"))
        return Sample(windows, now, "event", plan, credits) if windows else None
    limit = {"metered_feature": named[0], "limit_name": event.get("limit_name"), "rate_limit": raw}
    limits = _model_limits([limit], now)
    return Sample((), now, "event", model_limits=limits) if limits else None


def sample_from_usage(payload: Mapping[str, Any], now: float) -> Sample | None:
    """From the answer of the usage endpoint; it may tell of an account without any window.

    None for what is no such answer, and where a window is told that cannot be read: that is no proof that
    there is none.
    """
    told = payload.get("rate_limit")
    if not ("rate_limit" in payload or "plan_type" in payload) or not isinstance(told, Mapping | None):
        return None
    limits = _mapping(told)
    windows = _windows(_payload_windows(limits), now)
    if not windows and any(given is not None for given in _payload_windows(limits).values()):
        return None
    additional = payload.get("additional_rate_limits")
    return Sample(
        windows,
        now,
        "usage",
        _text(payload.get("plan_type")),
        _credits(_mapping(payload.get("credits"))),
        _model_limits((_mapping(limit) for limit in additional), now) if isinstance(additional, list) else (),
        is_whole=True,
        is_allowed=_flag(limits.get("allowed")),
    )


def is_for_model(limit_name: str, model: str) -> bool:
    """Whether a limit of that name holds for the model: it is named for it, or for what it begins with."""
    name, asked = _slug(limit_name), _slug(model)
    return bool(name) and f"{asked}-".startswith(f"{name}-")


def _slug(name: str) -> str:
    return "-".join(name.lower().replace("_", " ").split())


def _header_windows(found: Mapping[str, str], family: str) -> dict[str, dict[str, str | None]]:
    return {
        name: {
            "used_percent": found.get(f"x-{family}-{name}-used-percent"),
            "window_minutes": found.get(f"x-{family}-{name}-window-minutes"),
            "reset_at": found.get(f"x-{family}-{name}-reset-at"),
        }
        for name in ("primary", "secondary")
    }


def _families(found: Mapping[str, str]) -> list[str]:
    """The limits for single models that the headers tell of, as their names spell them."""
    matches = (_MODEL_HEADER.fullmatch(name) for name in found)
    return sorted({match[1] for match in matches if match is not None} - {_FAMILY})


def _header_limit(found: Mapping[str, str], family: str) -> Mapping[str, Any]:
    return {
        "metered_feature": family,
        "limit_name": found.get(f"x-{family}-limit-name"),
        "rate_limit": _header_windows(found, family),
    }


def _payload_windows(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: limits.get(f"{name}_window", limits.get(name)) for name in ("primary", "secondary")}


def _model_limits(given: Iterable[Mapping[str, Any]], now: float) -> tuple[ModelLimit, ...]:
    found: dict[str, ModelLimit] = {}
    for raw in given:
        name = _text(raw.get("limit_name")) or ""
        limit_id = _limit_id(raw.get("metered_feature")) or _limit_id(name)
        windows = _windows(_payload_windows(_mapping(raw.get("rate_limit"))), now)
        if limit_id and limit_id != _FAMILY and windows and len(found) < _MOST_MODEL_LIMITS:
            found[limit_id] = ModelLimit(limit_id, name[:120], windows)
    return tuple(found.values())


def _limit_id(value: object) -> str:
    """As payloads spell it: headers cannot have its underscores."""
    text = _text(value) or ""
    return text.strip().lower().replace("-", "_").replace(" ", "_")[:80]


def _windows(raw: Mapping[str, Any], now: float) -> tuple[WindowReading, ...]:
    readings = [
        reading
        for name in ("primary", "secondary")
        if (reading := _reading(name, _mapping(raw.get(name)), now)) is not None
    ]
    return tuple(_renamed(readings))


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
    """A balance alone says whether there are any."""
    has, unlimited = _flag(raw.get("has_credits")), _flag(raw.get("unlimited"))
    balance = finite(raw.get("balance"))
    if has is None and unlimited is None and balance is None:
        return None
    if has is None:
        has = balance is not None and balance > 0
    return Credits(has, bool(unlimited), balance)


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
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false", "1", "0"):
        return value.strip().lower() in ("true", "1")
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    # Unprintable is garbage, and some databases refuse it.
    return value if isinstance(value, str) and value and value.isprintable() else None
