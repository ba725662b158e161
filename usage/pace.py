"""Pure: how fast windows are used up, when the pool runs dry at that rate, and what even use would be.

Times are unix seconds, rates percent of a window per second or credits per second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# How long a rate is remembered: what lies so far back counts for a third. By time and not by readings, as
# readings that change nothing are not kept.
MEMORY_S = 1800.0
# Readings of one window whose ends differ by less belong to the same window.
SAME_RESET_S = 60.0
# Nothing is said of a time that is farther away than the longest window of most plans.
HORIZON_S = 7 * 86_400.0
# So far from even use it is called even.
EVEN_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One known value of a window."""

    recorded_at: float
    used_percent: float
    reset_at: float | None


@dataclass(frozen=True, slots=True)
class Share:
    """One account's part in the pool. `rate` is in percent per second; None when too little is known."""

    capacity: float
    used_percent: float
    reset_at: float | None
    rate: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the pool runs dry. `saved_at`: the reset without which it would, where one comes in time.

    Where it does run dry: `postponed_at` is the reset without which it would sooner, `too_late_at` the next
    reset, where that comes only afterwards.
    """

    dry_at: float | None = None
    saved_at: float | None = None
    postponed_at: float | None = None
    too_late_at: float | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """Against even use over the window: positive is faster."""

    expected_percent: float
    ahead_percent: float

    @property
    def behind_percent(self) -> float:
        return -self.ahead_percent

    @property
    def word(self) -> str:
        if abs(self.ahead_percent) <= EVEN_PERCENT:
            return "even"
        return "fast" if self.ahead_percent > 0 else "slow"


def use_rate(readings: Sequence[Reading]) -> float | None:
    """Percent per second over the window that is running now, oldest reading first.

    None for less than two readings of it: a fall, or another end, begins a new window.
    """
    rate: float | None = None
    for before, after in pairwise(readings):
        if _is_new_window(before, after):
            rate = None
            continue
        elapsed = after.recorded_at - before.recorded_at
        if elapsed <= 0:
            continue
        step = (after.used_percent - before.used_percent) / elapsed
        weight = 1 - math.exp(-elapsed / MEMORY_S)
        rate = step if rate is None else weight * step + (1 - weight) * rate
    return rate


def _is_new_window(before: Reading, after: Reading) -> bool:
    if after.used_percent < before.used_percent:
        return True
    if before.reset_at is None or after.reset_at is None:
        return False
    return abs(after.reset_at - before.reset_at) > SAME_RESET_S


def pool_forecast(shares: Iterable[Share], now: float, horizon_s: float = HORIZON_S) -> Forecast | None:
    """When the accounts have used up all they have together, going on at the present rate.

    The load goes to whoever has room, so that only the sum counts; a reset gives back what its account had
    used. None when no account's rate is known.
    """
    known = [share for share in shares if share.capacity > 0]
    rates = [share.capacity * share.rate / 100 for share in known if share.rate is not None]
    if not rates:
        return None
    rate = sum(rates)
    if rate <= 0:
        return Forecast()
    left = sum(share.capacity * max(0.0, 100 - share.used_percent) / 100 for share in known)
    unsaved_at = now + left / rate
    at = now
    saved_at: float | None = None
    too_late_at: float | None = None
    for share in sorted(_with_reset(known, now, horizon_s), key=lambda share: share.reset_at or 0.0):
        reset_at = share.reset_at or 0.0
        if at + left / rate <= reset_at:
            too_late_at = reset_at
            break
        left -= rate * (reset_at - at)
        at = reset_at
        left += share.capacity * min(100.0, share.used_percent) / 100
        if saved_at is None and unsaved_at < now + horizon_s:
            saved_at = reset_at
    dry_at = at + left / rate
    if dry_at > now + horizon_s:
        return Forecast(saved_at=saved_at)
    return Forecast(dry_at, None, saved_at, None if saved_at else too_late_at)


def _with_reset(shares: Iterable[Share], now: float, horizon_s: float) -> list[Share]:
    return [
        share for share in shares if share.reset_at is not None and now < share.reset_at < now + horizon_s
    ]


def window_pace(reading: Reading, window_s: float, now: float) -> Pace | None:
    """None where the window's end is not known, or has passed."""
    if reading.reset_at is None or reading.reset_at <= now or window_s <= 0:
        return None
    elapsed = min(1.0, max(0.0, 1 - (reading.reset_at - now) / window_s))
    return Pace(100 * elapsed, reading.used_percent - 100 * elapsed)


def pool_pace(known: Iterable[tuple[float, Pace]]) -> Pace | None:
    """Of all accounts together, from (capacity, pace) of each; None without any."""
    weighted = [(capacity, pace) for capacity, pace in known if capacity > 0]
    total = sum(capacity for capacity, _ in weighted)
    if not total:
        return None
    return Pace(
        sum(capacity * pace.expected_percent for capacity, pace in weighted) / total,
        sum(capacity * pace.ahead_percent for capacity, pace in weighted) / total,
    )
